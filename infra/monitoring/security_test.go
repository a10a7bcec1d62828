package monitoring_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// securityModel is written by hand: -update does not touch it, so that a change of what
// anybody may do, or of what keeps an alert alive, is one that somebody has read here.
const securityModel = "testdata/security.txt"

// alertSettings are the properties, beside the policies, that decide whether an alert
// comes, to whom, and whether its failure is noticed.
var alertSettings = map[string][]string{
	"AWS::IoT::TopicRule":                 {"RuleName", "TopicRulePayload"},
	"AWS::IoT::Certificate":               {"Status", "CertificateMode"},
	"AWS::IoT::PolicyPrincipalAttachment": {"PolicyName", "Principal"},
	"AWS::IoT::ThingPrincipalAttachment":  {"ThingName", "Principal"},
	"AWS::SNS::Subscription":              {"Protocol", "Endpoint", "TopicArn"},
	"AWS::CloudWatch::Alarm": {
		"AlarmName", "MetricName", "Metrics", "Dimensions", "Statistic", "Period", "EvaluationPeriods", "ComparisonOperator",
		"Threshold", "TreatMissingData", "AlarmActions",
	},
	"AWS::Logs::LogGroup":   {"RetentionInDays"},
	"AWS::Lambda::Function": {"Runtime", "Architectures", "Timeout", "MemorySize"},
}

// The file says for every variant who may do what on what under which condition, and
// the settings above.
func TestTheSecurityModelIsAsReviewed(t *testing.T) {
	var got strings.Builder
	for _, name := range slices.Sorted(maps.Keys(variants)) {
		fmt.Fprintf(&got, "== %s\n", name)
		for _, line := range model(t, parse(t, synth(t, variants[name]))) {
			fmt.Fprintln(&got, line)
		}
	}
	want, err := os.ReadFile(securityModel)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got.String(), "\n")); diff != "" {
		t.Errorf("what the stacks allow differs from %s; if that is meant, edit the file by hand (-want +got):\n%s", securityModel, diff)
	}
}

func model(t *testing.T, tpl template) []string {
	t.Helper()
	var lines []string
	add := func(parts ...any) {
		var texts []string
		for _, part := range parts {
			text, isText := part.(string)
			if !isText {
				text = short(t, part)
			}
			texts = append(texts, abbreviated(text))
		}
		lines = append(lines, strings.Join(texts, " | "))
	}
	for id, r := range tpl.Resources {
		for _, s := range statements(r.Properties) {
			for _, action := range texts(s["Action"]) {
				resources := texts(s["Resource"])
				if len(resources) == 0 {
					resources = []string{"itself"}
				}
				for _, resource := range resources {
					parts := []any{id, s["Effect"], action, resource}
					if s["Principal"] != nil {
						parts = append(parts, "to", s["Principal"])
					}
					if s["Condition"] != nil {
						parts = append(parts, "if", s["Condition"])
					}
					add(parts...)
				}
			}
		}
		for _, property := range alertSettings[r.Type] {
			if value, ok := r.Properties[property]; ok {
				add(id, "has", property, value)
			}
		}
	}
	slices.Sort(lines)
	return lines
}

func short(t *testing.T, v any) string {
	t.Helper()
	b := &strings.Builder{}
	encoder := json.NewEncoder(b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(resolved(v)); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(b.String())
}

var hashOfID = regexp.MustCompile(`([A-Za-z])[0-9A-F]{8}\b`)

// abbreviated leaves out what is the same everywhere: account and region, and the
// hashes of logical IDs.
func abbreviated(s string) string {
	s = regexp.MustCompile(`arn:<AWS::Partition>:(\w+):<AWS::Region>:<AWS::AccountId>:`).ReplaceAllString(s, "$1:")
	return hashOfID.ReplaceAllString(s, "$1")
}
