package iotsql

import (
	"testing"
)

const scenarioSQL = `SELECT * FROM '/last/will/topic' WHERE state.reported.last_will = 'yes' AND state.reported.trigger_action = 'on'`

const scenarioWill = `{"state":{"reported":{"last_will":"yes","trigger_action":"on","client_id":"lwtThing"}}}`

func TestTheScenariosRule(t *testing.T) {
	t.Parallel()
	rule, err := Compile(scenarioSQL, V2016)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		claim, payload, want string
		fires                bool
	}{
		{"a will fires and is handed on as it is", scenarioWill, scenarioWill, true},
		{"white space is not handed on", `{ "state": {"reported": {"last_will" : "yes", "trigger_action":"on"}}}` + "\n", `{"state":{"reported":{"last_will":"yes","trigger_action":"on"}}}`, true},
		{"another value does not fire", `{"state":{"reported":{"last_will":"no","trigger_action":"on"}}}`, "", false},
		{"a missing key does not fire", `{"state":{"reported":{"last_will":"yes"}}}`, "", false},
		{"an empty payload does not fire", ``, "", false},
	} {
		t.Run(c.claim, func(t *testing.T) {
			t.Parallel()
			got, err := rule.Eval(&Message{Topic: "/last/will/topic", Payload: []byte(c.payload)})
			if err != nil {
				t.Fatal(err)
			}
			if got.Fired != c.fires || string(got.Payload) != c.want {
				t.Errorf("fired %v with %q, want %v with %q", got.Fired, got.Payload, c.fires, c.want)
			}
		})
	}
}

// Not parallel: AllocsPerRun counts for the whole process.
func TestAMessageThatDoesNotMatchTakesHardlyAnyMemory(t *testing.T) {
	rule, err := Compile(scenarioSQL, V2016)
	if err != nil {
		t.Fatal(err)
	}
	m := &Message{Topic: "/last/will/topic", Payload: []byte(`{"state":{"reported":{"last_will":"no","trigger_action":"on"}}}`)}
	const most = 2
	if got := testing.AllocsPerRun(1000, func() {
		if result, err := rule.Eval(m); err != nil || result.Fired {
			t.Errorf("fired %v, %v", result.Fired, err)
		}
	}); got > most {
		t.Errorf("%v allocations, at most %d are wanted", got, most)
	}
}
