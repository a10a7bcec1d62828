package api

import (
	"regexp"
	"time"

	"lastwill/internal/localaws/awsapi"
	"lastwill/internal/localaws/iam"
	"lastwill/internal/localaws/policy"
)

func stsFront(s Services) front {
	a := stsAPI{s.Account, s.Keys, s.IAM}
	return queryFront{
		service: "sts", namespace: "https://sts.amazonaws.com/doc/2011-06-15/",
		operations: map[string]operation{
			"GetCallerIdentity": op(a.getCallerIdentity),
			"AssumeRole":        op(a.assumeRole),
		},
	}
}

type stsAPI struct {
	account awsapi.Account
	keys    *Keys
	iam     *iam.Service
}

type callerIdentity struct{ Arn, UserId, Account string }

func (a stsAPI) getCallerIdentity(c *call, _ nothing) (callerIdentity, error) {
	return callerIdentity{Arn: c.caller.ARN, UserId: c.caller.UserID, Account: a.account.ID}, nil
}

type assumeRoleInput struct {
	RoleArn, RoleSessionName, ExternalId string
	DurationSeconds                      *int
}

type assumeRoleOutput struct {
	Credentials     Credentials
	AssumedRoleUser struct {
		Arn           string
		AssumedRoleID string `xml:"AssumedRoleId"`
	}
}

// Session lengths in seconds (STS API reference, AssumeRole, DurationSeconds).
const (
	minSession     = 900
	defaultSession = 3600
	maxSession     = 43200
)

var sessionName = regexp.MustCompile(`^[\w+=,.@-]{2,64}$`)

func (a stsAPI) assumeRole(c *call, in assumeRoleInput) (out assumeRoleOutput, err error) {
	if !sessionName.MatchString(in.RoleSessionName) {
		return out, awsapi.Errorf("ValidationError", "roleSessionName %q must have 2 to 64 letters, digits and characters out of _+=,.@-", in.RoleSessionName)
	}
	seconds := defaultSession
	if in.DurationSeconds != nil {
		seconds = *in.DurationSeconds
	}
	if seconds < minSession || seconds > maxSession {
		return out, awsapi.Errorf("ValidationError", "durationSeconds %d must be from %d to %d", seconds, minSession, maxSession)
	}
	context := map[string]string{}
	if in.ExternalId != "" {
		context["sts:ExternalId"] = in.ExternalId
	}
	who := policy.Principal{ARN: c.caller.ARN, Account: a.account.ID}
	assumed := Caller{}
	assumed.ARN, assumed.UserID, err = a.iam.AssumeAs(in.RoleArn, who, in.RoleSessionName, context)
	if err != nil {
		return out, err
	}
	out.AssumedRoleUser.Arn, out.AssumedRoleUser.AssumedRoleID = assumed.ARN, assumed.UserID
	out.Credentials, err = a.keys.Issue(assumed, time.Duration(seconds)*time.Second)
	return out, err
}
