package iot

import (
	"fmt"
	"testing"
)

// BenchmarkRules hands a message to the deployed rules. What that costs must
// grow with the rules that the message is for, not with all of them.
func BenchmarkRules(b *testing.B) {
	for _, n := range []struct{ all, matching int }{
		{1, 1}, {10, 1}, {100, 1}, {1000, 1}, {1000, 10}, {1000, 100},
	} {
		b.Run(fmt.Sprintf("%d of %d match", n.matching, n.all), func(b *testing.B) {
			fired := 0
			s := registry(b)
			s.options.Observe = func(e Event) {
				if e.Kind == Matched {
					fired++
				}
			}
			for i := range n.all {
				filter := fmt.Sprintf("fleet/%d/+/will", i)
				if i < n.matching {
					filter = "fleet/0/+/will"
				}
				_, err := s.CreateTopicRule(fmt.Sprintf("rule_%d", i), TopicRulePayload{
					SQL: "SELECT * FROM '" + filter + "' WHERE state.reported.last_will = 'yes'",
				}, nil)
				check(b, err)
			}
			m := &Message{Topic: "fleet/0/d1/will", Payload: []byte(`{"state":{"reported":{"last_will":"yes"}}}`)}
			b.ReportAllocs()
			for b.Loop() {
				fired = 0
				s.runRules(m)
				if fired != n.matching {
					b.Fatalf("%d rules fired", fired)
				}
			}
		})
	}
}
