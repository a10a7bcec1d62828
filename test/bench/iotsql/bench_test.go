// Package iotsql measures AWS IoT SQL against general expression languages, on
// the same predicate over the same message, from bytes to decision:
//
//	go test -bench . -benchmem
package iotsql

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/cel-go/cel"
	"github.com/itchyny/gojq"

	"lastwill/internal/iotsql"
	"lastwill/internal/will"
)

// messages are wills of the scenario's shape, about 110 bytes.
var messages = []struct {
	name    string
	payload []byte
	fires   bool
}{
	{"match", []byte(`{"state":{"reported":{"last_will":"yes","trigger_action":"on","client_id":"lwtThing-production-00017"}}}`), true},
	{"no match", []byte(`{"state":{"reported":{"last_will":"yes","trigger_action":"off","client_id":"lwtThing-production-0017"}}}`), false},
}

// A predicate decides over a payload.
type predicate func(payload []byte) (bool, error)

func lastwill(b *testing.B) predicate {
	names := will.NewNames("")
	rule, err := iotsql.Compile(will.SQL(names.WillTopic), will.SQLVersion)
	if err != nil {
		b.Fatal(err)
	}
	return func(payload []byte) (bool, error) {
		result, err := rule.Eval(&iotsql.Message{Topic: names.WillTopic, Payload: payload})
		return result.Fired, err
	}
}

func celGo(b *testing.B) predicate {
	env, err := cel.NewEnv(cel.Variable("state", cel.DynType))
	if err != nil {
		b.Fatal(err)
	}
	ast, issues := env.Compile(`state.reported.last_will == 'yes' && state.reported.trigger_action == 'on'`)
	if issues.Err() != nil {
		b.Fatal(issues.Err())
	}
	program, err := env.Program(ast, cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		b.Fatal(err)
	}
	return func(payload []byte) (bool, error) {
		var message map[string]any
		if err := json.Unmarshal(payload, &message); err != nil {
			return false, err
		}
		v, _, err := program.Eval(message)
		if err != nil {
			return false, err
		}
		return v.Value().(bool), nil
	}
}

func gojqGo(b *testing.B) predicate {
	query, err := gojq.Parse(`.state.reported.last_will == "yes" and .state.reported.trigger_action == "on"`)
	if err != nil {
		b.Fatal(err)
	}
	code, err := gojq.Compile(query)
	if err != nil {
		b.Fatal(err)
	}
	return func(payload []byte) (bool, error) {
		var message any
		if err := json.Unmarshal(payload, &message); err != nil {
			return false, err
		}
		v, _ := code.Run(message).Next()
		fires, ok := v.(bool)
		if !ok {
			return false, fmt.Errorf("got %v", v)
		}
		return fires, nil
	}
}

func BenchmarkScenarioRule(b *testing.B) {
	for _, peer := range []struct {
		name string
		make func(*testing.B) predicate
	}{
		{"lastwill", lastwill}, {"cel-go", celGo}, {"gojq", gojqGo},
	} {
		for _, m := range messages {
			b.Run(m.name+"/"+peer.name, func(b *testing.B) {
				decide := peer.make(b)
				if fires, err := decide(m.payload); err != nil || fires != m.fires {
					b.Fatalf("decided %v, %v", fires, err)
				}
				b.ReportAllocs()
				b.SetBytes(int64(len(m.payload)))
				for b.Loop() {
					if _, err := decide(m.payload); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkTimesFaster reports how many times longer than lastwill each peer
// takes: the median of many short turns one after the other, so that a busy
// machine slows all of them alike.
func BenchmarkTimesFaster(b *testing.B) {
	const decisions = 200
	for _, m := range messages {
		b.Run(m.name, func(b *testing.B) {
			ours, peers := lastwill(b), map[string]predicate{"x-cel-go": celGo(b), "x-gojq": gojqGo(b)}
			turn := func(decide predicate) float64 {
				start := time.Now()
				for range decisions {
					if fires, err := decide(m.payload); err != nil || fires != m.fires {
						b.Fatalf("decided %v, %v", fires, err)
					}
				}
				return float64(time.Since(start))
			}
			ratios := map[string][]float64{}
			for b.Loop() {
				for name, decide := range peers {
					ratios[name] = append(ratios[name], turn(decide)/turn(ours))
				}
			}
			for name, list := range ratios {
				slices.Sort(list)
				b.ReportMetric(list[len(list)/2], name)
			}
		})
	}
}

// BenchmarkRules finds and evaluates the one rule of many that a message is
// for. What it costs must not grow with the rules that it is not for.
func BenchmarkRules(b *testing.B) {
	for _, n := range []int{1, 10, 100, 1000, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var index iotsql.Index[*iotsql.Rule]
			for i := range n {
				sql := fmt.Sprintf("SELECT * FROM 'fleet/%d/+/will' WHERE state.reported.last_will = 'yes'", i)
				rule, err := iotsql.Compile(sql, iotsql.V2016)
				if err != nil {
					b.Fatal(err)
				}
				index.Add(rule.Filter(), rule)
			}
			m := &iotsql.Message{Topic: fmt.Sprintf("fleet/%d/d1/will", n/2), Payload: messages[0].payload}
			b.ReportAllocs()
			for b.Loop() {
				fired := 0
				for rule := range index.Match(m.Topic) {
					if result, err := rule.Eval(m); err == nil && result.Fired {
						fired++
					}
				}
				if fired != 1 {
					b.Fatalf("%d rules fired", fired)
				}
			}
		})
	}
}

// BenchmarkMatchingRules is the other side: what it costs grows with the rules
// that a message is for.
func BenchmarkMatchingRules(b *testing.B) {
	for _, matching := range []int{1, 10, 100} {
		b.Run(fmt.Sprintf("%d of 1000", matching), func(b *testing.B) {
			var index iotsql.Index[int]
			for i := range 1000 {
				filter := fmt.Sprintf("other/%d/will", i)
				if i < matching {
					filter = []string{"fleet/+/will", "fleet/#", "fleet/d1/will"}[i%3]
				}
				index.Add(filter, i)
			}
			b.ReportAllocs()
			for b.Loop() {
				found := 0
				for range index.Match("fleet/d1/will") {
					found++
				}
				if found != matching {
					b.Fatalf("%d rules match", found)
				}
			}
		})
	}
}
