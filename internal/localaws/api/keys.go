package api

import (
	"crypto/hmac"
	"crypto/rand"
	"encoding/base32"
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"

	"lastwill/internal/localaws/awsapi"
)

// The long-term credentials of the local account's one user, who may do everything,
// unless there are others. They are no secret: everybody on the machine can use them.
const (
	TestAccessKeyID     = "test"
	TestSecretAccessKey = "test"
)

// A Caller is who signed a request.
type Caller struct {
	// ARN of a user or of a role's session.
	ARN string
	// UserID is AWS's unique identifier of the same.
	UserID string
	// Role is the name of the role that a service acts in, and whose policies are
	// asked. Default: the caller may do everything.
	Role string
}

// Keys know the credentials of one account: those of its user and those that
// were given out for sessions of roles. Sessions take no memory: all that must be
// known of one is in its token, which nobody else can make.
type Keys struct {
	account awsapi.Account
	secret  string // of this process; all sessions end with it
	user    User
	now     func() time.Time
}

// A User has the long-term credentials of an account. The zero value is the one with the
// test credentials.
type User struct{ AccessKeyID, SecretAccessKey string }

// NewUser returns a user whose credentials nobody else knows.
func NewUser() User {
	return User{AccessKeyID: "AKIA" + rand.Text()[:16], SecretAccessKey: rand.Text() + rand.Text()[:14]}
}

// NewKeys returns the Keys of an account without sessions.
func NewKeys(account awsapi.Account) *Keys { return NewKeysOf(account, User{}) }

// NewKeysOf returns the Keys of an account and its user, without sessions.
func NewKeysOf(account awsapi.Account, user User) *Keys {
	if user == (User{}) {
		user = User{TestAccessKeyID, TestSecretAccessKey}
	}
	return &Keys{account: account, user: user, secret: rand.Text(), now: time.Now}
}

// A session is what a token says. Its names are short because every request has it.
type session struct {
	AccessKeyID string    `json:"k"`
	ARN         string    `json:"a"`
	UserID      string    `json:"u"`
	Role        string    `json:"r,omitempty"`
	Expires     time.Time `json:"e"`
}

// Credentials are temporary ones of a session.
type Credentials struct {
	AccessKeyID     string `xml:"AccessKeyId"`
	SecretAccessKey string
	SessionToken    string
	Expiration      time.Time
}

// Issue gives out credentials.
func (k *Keys) Issue(c Caller, life time.Duration) (Credentials, error) {
	s := session{AccessKeyID: "ASIA" + rand.Text()[:16], ARN: c.ARN, UserID: c.UserID, Role: c.Role, Expires: k.now().Add(life).UTC().Truncate(time.Second)}
	payload, err := json.Marshal(s)
	if err != nil {
		return Credentials{}, err
	}
	text := base64.RawURLEncoding.EncodeToString(payload)
	return Credentials{
		AccessKeyID: s.AccessKeyID, SecretAccessKey: k.sessionSecret(s.AccessKeyID),
		SessionToken: text + "." + k.derive("token", text), Expiration: s.Expires,
	}, nil
}

func (k *Keys) sessionSecret(accessKeyID string) string { return k.derive("secret", accessKeyID) }

func (k *Keys) derive(purpose, text string) string {
	return base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(mac([]byte(k.secret), purpose+" "+text))
}

// find returns who has an access key, and its secret.
func (k *Keys) find(accessKeyID, token string) (c Caller, secret string, err error) {
	if token == "" {
		if accessKeyID != k.user.AccessKeyID {
			return c, "", errUnknownKey
		}
		return Caller{ARN: k.account.GlobalARN("iam", "user/test"), UserID: "AIDATESTTESTTESTTEST"}, k.user.SecretAccessKey, nil
	}
	text, proof, _ := strings.Cut(token, ".")
	if !hmac.Equal([]byte(proof), []byte(k.derive("token", text))) {
		return c, "", errUnknownKey
	}
	payload, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return c, "", errUnknownKey
	}
	var s session
	if err := json.Unmarshal(payload, &s); err != nil || s.AccessKeyID != accessKeyID {
		return c, "", errUnknownKey
	}
	if !k.now().Before(s.Expires) {
		return c, "", errTokenExpired
	}
	return Caller{ARN: s.ARN, UserID: s.UserID, Role: s.Role}, k.sessionSecret(accessKeyID), nil
}
