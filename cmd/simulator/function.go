package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/cfn"
	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	endtoend "lastwill/internal/check" // its tests have a function check
	"lastwill/internal/cli"
	"lastwill/internal/deployed"
	"lastwill/internal/will"
)

// inLambda reports whether AWS Lambda started the program (developer guide,
// "Defined runtime environment variables").
func inLambda() bool { return os.Getenv("AWS_LAMBDA_RUNTIME_API") != "" }

// serveChecks is the function of the stack's end-to-end check, a custom resource.
// It never returns.
func serveChecks() { lambda.Start(cfn.LambdaWrap(respond)) }

const (
	// checkID is the custom resource's physical id, always the same: another one
	// would have CloudFormation delete the former.
	checkID = "end-to-end-check"
	// cleaning is what a check is left of the function's time to remove what it made.
	cleaning = 30 * time.Second
	// sweeping bounds what a deletion may do before it succeeds.
	sweeping = 20 * time.Second
	// pause is the time before the check is tried again.
	pause = 5 * time.Second
	// maxReason, in bytes, keeps a response within CloudFormation's 4,096 bytes.
	maxReason = 2000
)

// A request is what the stack's template says of the check.
type request struct {
	Target will.Target
	// LimitSeconds bounds how long the check is tried. Rules, policies and roles
	// that were just made are not known everywhere at once.
	LimitSeconds string
}

// respond answers CloudFormation. What it is asked again does no harm: every check
// makes things of its own and removes them.
func respond(ctx context.Context, e cfn.Event) (id string, data map[string]any, err error) {
	r, limit, err := read(e)
	if e.RequestType == cfn.RequestDelete {
		// A check that fails to clean up must not keep a stack from being deleted.
		if err == nil {
			sweep(ctx, r.Target)
		}
		return checkID, nil, nil
	}
	if err != nil {
		return checkID, nil, err
	}
	if e.RequestType == cfn.RequestUpdate && rollingBack(ctx, e.StackID) {
		fmt.Println("the stack is being rolled back: nothing is checked")
		return checkID, nil, nil
	}
	if deadline, ok := ctx.Deadline(); ok {
		limit = min(limit, time.Until(deadline)-cleaning)
	}
	return checkID, nil, checkUntil(ctx, r.Target, limit)
}

func read(e cfn.Event) (r request, limit time.Duration, err error) {
	properties, err := json.Marshal(e.ResourceProperties)
	if err == nil {
		err = json.Unmarshal(properties, &r)
	}
	if err != nil {
		return r, 0, fmt.Errorf("properties of the check: %w", err)
	}
	seconds, err := strconv.Atoi(r.LimitSeconds)
	if err != nil {
		return r, 0, fmt.Errorf("LimitSeconds %q is no number", r.LimitSeconds)
	}
	return r, time.Duration(seconds) * time.Second, nil
}

// checkUntil tries until the check passes or its time is over.
func checkUntil(ctx context.Context, t will.Target, limit time.Duration) error {
	end := time.Now().Add(limit)
	for attempt := 1; ; attempt++ {
		err := checkOnce(ctx, t, limit, end)
		if err == nil {
			return nil
		}
		fmt.Printf("attempt %d: %v\n", attempt, err)
		if time.Until(end) < 2*pause {
			return shortened(err)
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return shortened(err)
		}
	}
}

// checkOnce gives each link a quarter of the time, so that a second attempt has some.
func checkOnce(ctx context.Context, t will.Target, limit time.Duration, end time.Time) error {
	ctx, cancel := context.WithDeadlineCause(ctx, end, fmt.Errorf("it took longer than %s", limit))
	defer cancel()
	report, err := endtoend.Run(ctx, endtoend.Options{
		AWS: fromEnvironment(), Target: t, Patience: limit / 4,
		Observe: func(s endtoend.Step) { fmt.Printf("%s: %s (%.0f ms)\n", s.Name, s.Detail, s.Milliseconds) },
	})
	switch {
	case report != nil && report.Broken != nil:
		reason := report.Broken.Error()
		if report.Broken.Hint != "" {
			reason += "; hint: " + report.Broken.Hint
		}
		return errors.New(reason)
	case err != nil && cli.Hint(err) != "":
		return fmt.Errorf("%w; hint: %s", err, cli.Hint(err))
	}
	return err
}

func shortened(err error) error {
	text := "end-to-end check: " + err.Error()
	return errors.New(strings.ToValidUTF8(text[:min(len(text), maxReason)], ""))
}

func sweep(ctx context.Context, t will.Target) {
	ctx, cancel := context.WithTimeout(ctx, sweeping)
	defer cancel()
	removed, err := endtoend.Sweep(ctx, fromEnvironment(), t)
	for _, name := range removed {
		fmt.Println("removed what the check", name, "left")
	}
	if err != nil {
		fmt.Println("not all is removed:", err)
	}
}

// rollingBack reports whether CloudFormation is taking an update back, which it
// does by another update. Were that refused, the stack would be stuck in
// UPDATE_ROLLBACK_FAILED.
func rollingBack(ctx context.Context, stack string) bool {
	found, err := deployed.Stack(ctx, fromEnvironment(), stack)
	if err != nil {
		fmt.Println("the status of the stack is not known:", err)
		return false
	}
	return found != nil && strings.Contains(string(found.StackStatus), "ROLLBACK")
}

// fromEnvironment is where Lambda puts the role's credentials.
func fromEnvironment() aws.Config {
	c := aws.Config{
		Region: os.Getenv("AWS_REGION"),
		Credentials: credentials.NewStaticCredentialsProvider(
			os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_SECRET_ACCESS_KEY"), os.Getenv("AWS_SESSION_TOKEN")),
	}
	if endpoint := os.Getenv("AWS_ENDPOINT_URL"); endpoint != "" {
		c.BaseEndpoint = &endpoint
	}
	return c
}
