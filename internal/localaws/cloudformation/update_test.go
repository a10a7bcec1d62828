package cloudformation

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lastwill/internal/await"
	"lastwill/internal/localaws/awsapi"
)

// things is a template of things: A, and B which needs A's ARN.
func things(nameA string, sizeA, sizeB int) string {
	return fmt.Sprintf(`{"Resources":{"A":{"Type":"Test::Thing","Properties":{"Name":%q,"Size":%d}},
	 "B":{"Type":"Test::Thing","Properties":{"Size":%d,"Needs":{"Fn::GetAtt":["A","Arn"]}}}},"Outputs":{"O":{"Value":{"Ref":"A"}}}}`, nameA, sizeA, sizeB)
}

func TestUpdates(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		claim  string
		to     string
		fails  faults
		status string
		did    []string
		output string
	}{
		{
			"a property that can change in place is changed", things("a", 2, 1),
			faults{},
			"UPDATE_COMPLETE",
			[]string{"~A1->2"},
			"a",
		},
		{
			"a replacement comes before the old one goes, and what refers to it follows", things("new", 1, 1),
			faults{},
			"UPDATE_COMPLETE",
			[]string{"+A", "~B1->1", "-A"},
			"new",
		},
		{
			"a new resource is made", strings.Replace(things("a", 1, 1), `"B":`, `"C":{"Type":"Test::Thing"},"B":`, 1),
			faults{},
			"UPDATE_COMPLETE",
			[]string{"+C"},
			"a",
		},
		{
			"a removed one goes last", `{"Resources":{"A":{"Type":"Test::Thing","Properties":{"Name":"a","Size":2}}},"Outputs":{"O":{"Value":{"Ref":"A"}}}}`,
			faults{},
			"UPDATE_COMPLETE",
			[]string{"~A1->2", "-B"},
			"a",
		},
		{
			"a failed change is taken back", things("a", 2, 2),
			faults{failUpdate: map[string]bool{"B": true}},
			"UPDATE_ROLLBACK_COMPLETE",
			[]string{"~A1->2", "~A2->1"},
			"a",
		},
		{
			"a failed replacement leaves the old one", things("new", 1, 2),
			faults{failUpdate: map[string]bool{"B": true}},
			"UPDATE_ROLLBACK_COMPLETE",
			[]string{"+A", "-A"},
			"a",
		},
		{
			"a failed addition is taken back", strings.Replace(things("a", 2, 1), `"B":`, `"C":{"Type":"Test::Thing","DependsOn":"A"},"B":`, 1),
			faults{failCreate: map[string]bool{"C": true}},
			"UPDATE_ROLLBACK_COMPLETE",
			[]string{"~A1->2", "~A2->1"},
			"a",
		},
		{
			"a removed one stays when another change fails", `{"Resources":{"B":{"Type":"Test::Thing","Properties":{"Size":2}}},"Outputs":{"O":{"Value":"none"}}}`,
			faults{failUpdate: map[string]bool{"B": true}},
			"UPDATE_ROLLBACK_COMPLETE", nil, "a",
		},
		{
			"what cannot be cleaned up does not fail the update", `{"Resources":{"A":{"Type":"Test::Thing","Properties":{"Name":"a","Size":1}}},"Outputs":{"O":{"Value":{"Ref":"A"}}}}`,
			faults{failDelete: map[string]bool{"B": true}},
			"UPDATE_COMPLETE", nil, "a",
		},
	} {
		t.Run(c.claim, func(t *testing.T) {
			t.Parallel()
			w := &world{}
			s := w.service()
			before, err := create(t, s, "S", things("a", 1, 1))
			if err != nil {
				t.Fatal(err)
			}
			w.faults = c.fails
			after, err := update(t, s, "S", c.to)
			if (err == nil) != (c.status == "UPDATE_COMPLETE") {
				t.Errorf("got error %v", err)
			}
			if after.Status != c.status {
				t.Errorf("stack is %s, want %s", after.Status, c.status)
			}
			if diff := cmp.Diff(append([]string{"+A", "+B"}, c.did...), w.took()); diff != "" {
				t.Error(diff)
			}
			if got := after.Output("O"); got != c.output {
				t.Errorf("output is %q, want %q", got, c.output)
			}
			if c.status == "UPDATE_ROLLBACK_COMPLETE" {
				if after.TemplateBody != before.TemplateBody || after.Resources["A"].PhysicalID != "a" {
					t.Error("the stack is not what it was")
				}
			}
			w.failDelete = nil
			if err := remove(t, s, "S"); err != nil {
				t.Errorf("delete: %v", err)
			}
		})
	}
}

func TestAnUpdateWithoutChangesIsRefused(t *testing.T) {
	t.Parallel()
	s := (&world{}).service()
	if _, err := create(t, s, "S", things("a", 1, 1)); err != nil {
		t.Fatal(err)
	}
	if _, err := update(t, s, "S", things("a", 1, 1)); err == nil || !strings.Contains(err.Error(), "No updates are to be performed.") {
		t.Errorf("got %v", err)
	}
	c, err := s.CreateChangeSet("c", "", false, Input{Name: "S", TemplateBody: []byte(things("a", 1, 1))})
	if err != nil || c.Status != "FAILED" || !strings.Contains(c.StatusReason, "didn't contain changes") {
		t.Errorf("got %+v, %v", c, err)
	}
}

func TestChangedTagsReachTheResources(t *testing.T) {
	t.Parallel()
	w := &world{}
	s := w.service()
	if _, err := create(t, s, "S", things("a", 1, 1)); err != nil {
		t.Fatal(err)
	}
	id, err := s.Update(Input{Name: "S", TemplateBody: []byte(things("a", 1, 1)), Tags: awsapi.Tags{"owner": "ops"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Await(await.Context(t), id); err != nil {
		t.Fatal(err)
	}
	if got := w.took(); !slices.Contains(got, "~A1->1") || !slices.Contains(got, "~B1->1") {
		t.Errorf("got %v", got)
	}
}

func TestChangeSets(t *testing.T) {
	t.Parallel()
	w := &world{}
	s := w.service()
	c, err := s.CreateChangeSet("first", "", true, Input{Name: "S", TemplateBody: []byte(things("a", 1, 1))})
	if err != nil {
		t.Fatal(err)
	}
	stack, err := s.Describe("S")
	if err != nil || stack.Status != "REVIEW_IN_PROGRESS" || len(w.took()) != 0 {
		t.Fatalf("a change set that creates must make nothing yet: %v, %v", stack, err)
	}
	id, err := s.ExecuteChangeSet(c.ID, "", false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Await(await.Context(t), id); err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteChangeSet("nobody", "S"); err != nil {
		t.Errorf("deleting a change set that does not exist: %v", err)
	}
	body := `{"Resources":{"A":{"Type":"Test::Thing","Properties":{"Name":"new","Size":1}},"C":{"Type":"Test::Thing","Properties":{"Needs":{"Ref":"A"}}}}}`
	c, err = s.CreateChangeSet("second", "", false, Input{Name: "S", TemplateBody: []byte(body)})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, change := range c.Changes {
		got = append(got, change.Action+" "+change.LogicalID+" "+change.Replacement)
	}
	if diff := cmp.Diff([]string{"Modify A True", "Add C ", "Remove B "}, got); diff != "" {
		t.Error(diff)
	}
	if id, err = s.ExecuteChangeSet("second", "S", false); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Await(await.Context(t), id); err != nil {
		t.Fatal(err)
	}
	if _, err := s.ExecuteChangeSet("second", "S", false); err == nil || !strings.Contains(err.Error(), "does not exist") {
		t.Errorf("an executed change set is gone, got %v", err)
	}
}

func TestProtectedStacksStay(t *testing.T) {
	t.Parallel()
	s := (&world{}).service()
	if _, err := create(t, s, "S", things("a", 1, 1)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.SetTerminationProtection("S", true); err != nil {
		t.Fatal(err)
	}
	if err := s.Delete("S"); err == nil || !strings.Contains(err.Error(), "TerminationProtection") {
		t.Errorf("got %v", err)
	}
}

// An endpoint that dies in the middle of an operation goes on with it after the
// restart, whatever it had done by then.
func TestOperationsGoOnAfterARestart(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		claim, from, to string
		fails           faults
		status          string
	}{
		{"a create", "", things("a", 1, 1), faults{}, "CREATE_COMPLETE"},
		{"a create that rolls back", "", things("a", 1, 1), faults{failCreate: map[string]bool{"B": true}}, "ROLLBACK_COMPLETE"},
		{"an update", things("a", 1, 1), things("new", 2, 2), faults{}, "UPDATE_COMPLETE"},
		{"an update that rolls back", things("a", 1, 1), things("new", 1, 2), faults{failUpdate: map[string]bool{"B": true}}, "UPDATE_ROLLBACK_COMPLETE"},
		{"a delete", things("a", 1, 1), "", faults{}, "DELETE_COMPLETE"},
	} {
		t.Run(c.claim, func(t *testing.T) {
			t.Parallel()
			var saved [][]byte // the state after each event
			w := &world{faults: c.fails}
			s := w.service()
			id := ""
			if c.from != "" {
				stack, err := create(t, s, "S", c.from)
				if err != nil {
					t.Fatal(err)
				}
				id = stack.ID
			}
			s.options.Atomically = func(f func()) {
				save := func() {
					b, err := json.Marshal(s)
					if err != nil {
						t.Error(err)
					}
					saved = append(saved, b)
				}
				w.mu.Lock()
				save()
				w.mu.Unlock()
				f()
				w.mu.Lock()
				save()
				w.mu.Unlock()
			}
			var err error
			switch {
			case c.to == "":
				err = s.Delete("S")
			case c.from == "":
				id, err = s.Create(Input{Name: "S", TemplateBody: []byte(c.to)})
			default:
				_, err = s.Update(Input{Name: "S", TemplateBody: []byte(c.to)})
			}
			if err != nil {
				t.Fatal(err)
			}
			stack, _ := s.Await(await.Context(t), id)
			if stack.Status != c.status {
				t.Fatalf("without a restart the stack is %s", stack.Status)
			}
			for i, state := range saved {
				w := &world{faults: c.fails}
				restarted := w.service()
				if err := json.Unmarshal(state, restarted); err != nil {
					t.Fatal(err)
				}
				if err := restarted.Resume(); err != nil {
					t.Fatal(err)
				}
				stack, _ := restarted.Await(await.Context(t), id)
				if stack.Status != c.status {
					t.Errorf("restarted at point %d the stack is %s: %v", i, stack.Status, stack.failures())
				}
				if got := len(stack.Resources); got != len(mustDescribe(t, s, id).Resources) {
					t.Errorf("restarted at point %d the stack has %d resources", i, got)
				}
			}
		})
	}
}

func (s *Stack) failures() string { return (&stack{Stack: *s}).failures() }

func mustDescribe(t *testing.T, s *Service, id string) *Stack {
	t.Helper()
	stack, err := s.Describe(id)
	if err != nil {
		t.Fatal(err)
	}
	return stack
}
