package deployed

import (
	"context"
	"encoding/json"
	"regexp"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"

	"lastwill/internal/shell"
	"lastwill/internal/will"
)

// RevertDrift is the command that puts back what was deleted or changed behind
// CloudFormation's back. A deployment without --revert-drift does not see that.
func RevertDrift(ctx context.Context, c aws.Config, stack string) string {
	return "npx cdk deploy --revert-drift" + arguments(settings(ctx, c, stack))
}

// Destroy is the command that deletes a stack without asking.
func Destroy(ctx context.Context, c aws.Config, stack string) string {
	return "npx cdk destroy --force" + arguments(slices.DeleteFunc(settings(ctx, c, stack), func(s setting) bool {
		return !slices.Contains([]string{"environment", "email", "things", "certs"}, s.key)
	}))
}

// A setting is one of the CDK app's.
type setting struct{ key, value string }

// arguments gives settings to the CDK CLI.
func arguments(settings []setting) string {
	var b strings.Builder
	for _, s := range settings {
		b.WriteString(" -c " + s.key + "=" + shell.Quote(s.value))
	}
	return b.String()
}

// settings are those of a deployed stack: the app wants them for every command. They
// come from the template; of one that cannot be read, the environment alone is known.
func settings(ctx context.Context, c aws.Config, stack string) (settings []setting) {
	environment, ok := strings.CutPrefix(stack, will.NewNames("").Stack+"-")
	if ok {
		settings = append(settings, setting{"environment", environment})
	} else {
		environment = ""
	}
	found, err := cloudformation.NewFromConfig(c).GetTemplate(ctx, &cloudformation.GetTemplateInput{StackName: &stack})
	if err != nil {
		return settings
	}
	var t template
	if err := json.Unmarshal([]byte(aws.ToString(found.TemplateBody)), &t); err != nil {
		return settings
	}
	settings = append(settings, t.settings(will.NewNames(environment))...)
	if found, err := Stack(ctx, c, stack); err == nil && found != nil {
		var tags []string
		for _, tag := range found.Tags {
			if key := aws.ToString(tag.Key); key != will.TagApp && key != will.TagEnvironment {
				tags = append(tags, key+"="+aws.ToString(tag.Value))
			}
		}
		if tags != nil {
			settings = append(settings, setting{"tags", joinSorted(tags)})
		}
	}
	return settings
}

// A template is that of this app's stack, as far as it shows settings.
type template struct {
	Resources map[string]struct {
		Type           string
		DeletionPolicy string
		Properties     struct {
			Protocol, Endpoint any
			Architectures      []string
			Environment        struct{ Variables struct{ Grace any } }
		}
	}
	Outputs map[string]struct{ Value any }
}

// What the command of the simulator shows.
var (
	keepAlive = regexp.MustCompile(` -keep-alive (\d+)`)
	certs     = regexp.MustCompile(` -k '?([^']+)/[^/']+\.key`)
)

// settings are those that differ from the defaults, and the addresses.
func (t template) settings(names will.Names) (settings []setting) {
	var addresses []string
	grace := ""
	count := map[string]int{}
	for _, r := range t.Resources {
		count[r.Type]++
		if address, ok := r.Properties.Endpoint.(string); ok && r.Type == "AWS::SNS::Subscription" && r.Properties.Protocol == "email" {
			addresses = append(addresses, address)
		}
		if r.Type == "AWS::Lambda::Function" {
			if duration, ok := r.Properties.Environment.Variables.Grace.(string); ok {
				grace = duration
			}
			if slices.Contains(r.Properties.Architectures, "arm64") {
				count["arm64"]++
			}
		}
		if r.Type == "AWS::Logs::LogGroup" && r.DeletionPolicy == "Retain" {
			count["kept log"]++
		}
	}
	add := func(differs bool, key, value string) {
		if differs {
			settings = append(settings, setting{key, value})
		}
	}
	add(len(addresses) > 0, "email", joinSorted(addresses))
	things := t.output(will.OutputThingName)
	suffix := strings.TrimPrefix(names.Thing("x"), "x")
	var named []string
	for thing := range strings.SplitSeq(things, ",") {
		named = append(named, strings.TrimSuffix(thing, suffix))
	}
	add(things != "" && things != names.Thing(will.ThingName), "things", strings.Join(named, ","))
	for _, topic := range []struct{ key, output, usual string }{
		{"willTopic", will.OutputWillTopic, names.WillTopic},
		{"connectedTopic", will.OutputConnectedTopic, names.ConnectedTopic},
		{"executedTopic", will.OutputExecutedTopic, names.ExecutedTopic},
	} {
		given := t.output(topic.output)
		add(given != "" && given != topic.usual, topic.key, strings.TrimPrefix(given, strings.TrimSuffix(names.Topic("/"), "/")))
	}
	command := t.output(will.OutputSimulatorCommand)
	if seconds := keepAlive.FindStringSubmatch(command); seconds != nil {
		add(true, "keepAlive", seconds[1])
	}
	if folder := certs.FindStringSubmatch(command); folder != nil {
		add(folder[1] != "certs", "certs", folder[1])
	}
	add(count["kept log"] > 0, "removeLogs", "false")
	add(grace != "", "grace", grace)
	add(count["arm64"] > 0, "architecture", "arm64")
	add(count["Custom::EndToEndCheck"] > 0, "check", "true")
	add(count["AWS::CloudWatch::Alarm"] == 0, "alarms", "false")
	add(count["AWS::CloudWatch::Dashboard"] == 0, "dashboard", "false")
	return settings
}

func (t template) output(name string) string {
	value, _ := t.Outputs[name].Value.(string)
	return value
}

func joinSorted(words []string) string {
	slices.Sort(words)
	return strings.Join(slices.Compact(words), ",") // one address may be told of several things
}
