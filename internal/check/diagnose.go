package check

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	logstypes "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"

	"lastwill/internal/deployed"
	"lastwill/internal/iotsql"
)

// noWill is the verdict when the will did not come.
func (c *check) noWill(ctx context.Context, lost *loss) error {
	b := &Broken{
		Link: Will, Mode: lost.mode,
		Reason: fmt.Sprintf("no Will Message came on %s within %s", c.Target.WillTopic, c.Patience),
		Hint:   "the broker took the will in CONNECT; \"aws iot-data get-connection --client-id " + c.name + "\" tells for 30 minutes what it knows of the connection's end",
	}
	if ctx.Err() != nil {
		return interrupted(ctx)
	}
	if c.seen.find(Republish, lost.token) != nil {
		b.Reason += ", but the rule's copy of it did: the watcher did not get it"
		b.Hint = "check again: wills are sent at QoS 0"
	}
	return b
}

// A fault is a reason that was found.
type fault struct{ reason, hint string }

// diagnose finds out which link after the will broke first, and why. The will was
// seen, and not all that must follow.
func (c *check) diagnose(ctx context.Context, lost *loss, seen *sighting, copied, sent bool) error {
	broken := func(link Link, f fault) error {
		return &Broken{Link: link, Mode: lost.mode, Reason: f.reason, Hint: f.hint}
	}
	rule, err := c.iot.GetTopicRule(ctx, &iot.GetTopicRuleInput{RuleName: &c.Target.Rule})
	if ctx.Err() != nil {
		return interrupted(ctx)
	}
	var payload *types.TopicRule
	if err == nil {
		payload = rule.Rule
	}
	if !copied && !sent {
		if f := c.ruleFault(ctx, payload, err, seen); f != nil {
			return broken(Rule, *f)
		}
	}
	if !copied {
		if f := c.republishFault(ctx, payload); f != nil {
			return broken(Republish, *f)
		}
	}
	if copied {
		if f := c.snsFault(ctx, payload); f != nil {
			return broken(SNS, *f)
		}
	}
	failures, err := c.failures(ctx, lost, copied)
	if err != nil {
		return err
	}
	if !copied {
		return broken(Republish, c.actionFault(ctx, failures, "RepublishAction",
			fmt.Sprintf("no copy came on %s within %s", c.Target.ExecutedTopic, c.Patience)))
	}
	if failed := c.actionFault(ctx, failures, "SnsAction", ""); c.queued || failed.reason != "" {
		if failed.reason == "" {
			failed.reason = fmt.Sprintf("no message came from %s within %s; %s has no failed SNS action", c.Target.SNSTopic, c.Patience, c.Target.ErrorLog)
		}
		return broken(SNS, failed)
	}
	c.step(lost.mode, string(SNS), "not seen, but no failure of the SNS action was logged", time.Since(lost.at))
	return nil
}

// ruleFault is why the rule did not select the will; nil if it should have.
func (c *check) ruleFault(ctx context.Context, rule *types.TopicRule, err error, seen *sighting) *fault {
	name := c.Target.Rule
	switch {
	case isCode(err, "UnauthorizedException", "ResourceNotFoundException"):
		return &fault{"topic rule " + name + " does not exist, or may not be read: " + err.Error(), c.revert(ctx)}
	case err != nil:
		return &fault{"neither a copy nor a message to the SNS topic came, and topic rule " + name + " cannot be read: " + err.Error(), ""}
	case aws.ToBool(rule.RuleDisabled):
		return &fault{"topic rule " + name + " is disabled", "aws iot enable-topic-rule --rule-name " + name}
	}
	compiled, err := iotsql.Compile(aws.ToString(rule.Sql), iotsql.Version(aws.ToString(rule.AwsIotSqlVersion)))
	if err != nil {
		return &fault{"the SQL of topic rule " + name + " cannot be read: " + err.Error(), c.revert(ctx)}
	}
	why, err := compiled.Explain(&iotsql.Message{Topic: c.Target.WillTopic, Payload: seen.payload, ClientID: c.name})
	if err != nil {
		return &fault{"topic rule " + name + " fails on the will: " + err.Error(), ""}
	}
	if !why.Fired {
		return &fault{
			"topic rule " + name + " does not select the will: " + strings.ReplaceAll(why.String(), "\n", "; "),
			c.revert(ctx),
		}
	}
	return nil
}

// republishFault is what the rule's definition says against a copy on the
// executed topic.
func (c *check) republishFault(ctx context.Context, rule *types.TopicRule) *fault {
	if rule == nil {
		return nil
	}
	var topics []string
	for _, a := range rule.Actions {
		if a.Republish != nil {
			topics = append(topics, aws.ToString(a.Republish.Topic))
		}
	}
	switch {
	case topics == nil:
		return &fault{"topic rule " + c.Target.Rule + " has no republish action", c.revert(ctx)}
	case !slices.ContainsFunc(topics, func(t string) bool { return t == c.Target.ExecutedTopic || strings.Contains(t, "${") }):
		return &fault{
			fmt.Sprintf("topic rule %s republishes to %s, not to %s", c.Target.Rule, strings.Join(topics, " and "), c.Target.ExecutedTopic),
			c.revert(ctx),
		}
	}
	return nil
}

// snsFault is what the rule's definition says against a message to the SNS topic.
func (c *check) snsFault(ctx context.Context, rule *types.TopicRule) *fault {
	if rule == nil {
		return nil
	}
	var targets []string
	for _, a := range rule.Actions {
		if a.Sns != nil {
			targets = append(targets, aws.ToString(a.Sns.TargetArn))
		}
	}
	switch {
	case targets == nil:
		return &fault{"topic rule " + c.Target.Rule + " has no SNS action", c.revert(ctx)}
	case !slices.Contains(targets, c.Target.SNSTopic):
		return &fault{fmt.Sprintf("topic rule %s sends to %s, not to %s", c.Target.Rule, strings.Join(targets, " and "), c.Target.SNSTopic), c.revert(ctx)}
	}
	return nil
}

const logPause = time.Second

// failures reads from the log group what failed on the will, waiting for it as
// long as a link may take. Where the SNS topic is watched by nothing else, and all
// else came, a shorter look must do.
func (c *check) failures(ctx context.Context, lost *loss, copied bool) ([]deployed.Failure, error) {
	patience := c.Patience
	if copied && !c.queued {
		patience = min(patience, 4*c.slowest+logPause)
	}
	end := time.Now().Add(patience)
	for {
		found, err := c.loggedFailures(ctx, lost)
		if ctx.Err() != nil {
			return nil, interrupted(ctx)
		}
		if err != nil {
			c.warn("the log of failed actions cannot be read: %v", err)
			return nil, nil
		}
		if len(found) > 0 || time.Now().After(end) {
			return found, nil
		}
		if err := wait(ctx, logPause); err != nil {
			return nil, err
		}
	}
}

// clockSkew is how far this machine's clock may be ahead of AWS's.
const clockSkew = 5 * time.Minute

func (c *check) loggedFailures(ctx context.Context, lost *loss) ([]deployed.Failure, error) {
	events, err := deployed.All(ctx, cloudwatchlogs.NewFilterLogEventsPaginator(c.logs, &cloudwatchlogs.FilterLogEventsInput{
		LogGroupName: &c.Target.ErrorLog, FilterPattern: aws.String(`"` + c.name + `"`),
		StartTime: aws.Int64(lost.at.Add(-clockSkew).UnixMilli()),
	}), func(page *cloudwatchlogs.FilterLogEventsOutput) []logstypes.FilteredLogEvent { return page.Events })
	if err != nil {
		return nil, err
	}
	var found []deployed.Failure
	for _, event := range events {
		var logged deployed.ErrorActionMessage
		if json.Unmarshal([]byte(aws.ToString(event.Message)), &logged) == nil && strings.Contains(string(logged.Base64OriginalPayload), lost.token+`"`) {
			found = append(found, logged.Failures...)
		}
	}
	return found, nil
}

// actionFault is the failure of an action, or else what is known without one.
func (c *check) actionFault(ctx context.Context, failures []deployed.Failure, action, otherwise string) fault {
	for _, f := range failures {
		if strings.EqualFold(f.FailedAction, action) {
			return fault{fmt.Sprintf("%s on %s failed: %s", action, f.FailedResource, f.ErrorMessage), c.hintFor(ctx, f.ErrorMessage)}
		}
	}
	if otherwise != "" {
		otherwise += fmt.Sprintf("; %s has no failed %s", c.Target.ErrorLog, action)
	}
	return fault{reason: otherwise}
}

// hintFor says what to do about the error of an action. Most come of something that was
// deleted or changed behind CloudFormation's back.
func (c *check) hintFor(ctx context.Context, message string) string {
	for _, drifted := range []string{"No default entry", "not authorized", "does not exist", "NotFound", "not found", "assume role", "KMS"} {
		if strings.Contains(message, drifted) {
			return c.revert(ctx)
		}
	}
	return ""
}

// revert is the command that puts back what the stack has and AWS has no more.
func (c *check) revert(ctx context.Context) string {
	return deployed.RevertDrift(ctx, c.AWS, c.Target.Stack)
}
