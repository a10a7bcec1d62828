package cloudformation

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lastwill/internal/await"
	"lastwill/internal/localaws/awsapi"
)

var account = awsapi.Account{ID: "123456789012", Region: "eu-west-1"}

// world is a resource type that remembers what was made and deleted, in order.
type world struct {
	mu  sync.Mutex
	log []string
	faults
}

// faults are the logical ids with which the world does not go along.
type faults struct{ failCreate, failUpdate, failDelete map[string]bool }

func (w *world) note(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.log = append(w.log, what)
}

func (w *world) took() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.log)
}

func (w *world) thing() Type {
	return Type{
		Properties:  []string{"Name", "Needs", "Size", "Tags"},
		Replacement: []string{"Name"},
		Create: func(r Request) (Result, error) {
			if w.failCreate[r.LogicalID] {
				return Result{}, errors.New("the world says no")
			}
			w.note("+" + r.LogicalID)
			name, _ := r.Properties["Name"].(string)
			if name == "" {
				name = r.GeneratedName(64)
			}
			return Result{PhysicalID: name, Attributes: map[string]any{"Arn": "arn:" + name}}, nil
		},
		Update: func(r Request) (Result, error) {
			if w.failUpdate[r.LogicalID] && fmt.Sprint(r.Properties["Size"]) != "1" {
				return Result{}, errors.New("the world will not change")
			}
			w.note("~" + r.LogicalID + fmt.Sprint(r.Previous["Size"], "->", r.Properties["Size"]))
			return Result{PhysicalID: r.PhysicalID, Attributes: map[string]any{"Arn": "arn:" + r.PhysicalID}}, nil
		},
		Delete: func(r Request) error {
			if w.failDelete[r.LogicalID] {
				return errors.New("the world holds on")
			}
			w.note("-" + r.LogicalID)
			return nil
		},
	}
}

// create creates a stack and waits for the end.
func create(t *testing.T, s *Service, name, body string) (*Stack, error) {
	t.Helper()
	id, err := s.Create(Input{Name: name, TemplateBody: []byte(body)})
	if err != nil {
		return nil, err
	}
	return s.Await(await.Context(t), id)
}

func update(t *testing.T, s *Service, name, body string) (*Stack, error) {
	t.Helper()
	id, err := s.Update(Input{Name: name, TemplateBody: []byte(body)})
	if err != nil {
		return nil, err
	}
	return s.Await(await.Context(t), id)
}

func remove(t *testing.T, s *Service, name string) error {
	t.Helper()
	stack, err := s.Describe(name)
	if err != nil {
		return err
	}
	if err := s.Delete(name); err != nil {
		return err
	}
	_, err = s.Await(await.Context(t), stack.ID)
	return err
}

func (w *world) service() *Service {
	return New(Options{
		Account: account,
		Types:   map[string]Type{"Test::Thing": w.thing()},
		Parameter: func(name string) (string, error) {
			if name == "/version" {
				return "21", nil
			}
			return "", fmt.Errorf("SSM parameter %s does not exist", name)
		},
	})
}

// chain is A <- B <- C by Ref, GetAtt and DependsOn.
const chain = `{"Resources":{
 "C":{"Type":"Test::Thing","DependsOn":"B"},
 "B":{"Type":"Test::Thing","Properties":{"Needs":{"Fn::GetAtt":["A","Arn"]}}},
 "A":{"Type":"Test::Thing","Properties":{"Name":"a"}}},
 "Outputs":{"Arn":{"Value":{"Fn::Sub":"${A.Arn} in ${AWS::Region}"},"Description":"where"}}}`

func TestResourcesComeAfterWhatTheyNeedAndGoBeforeIt(t *testing.T) {
	t.Parallel()
	w := &world{}
	s := w.service()
	stack, err := create(t, s, "Chain", chain)
	if err != nil {
		t.Fatal(err)
	}
	if got := stack.Output("Arn"); got != "arn:a in eu-west-1" {
		t.Errorf("output is %q", got)
	}
	if err := remove(t, s, stack.ID); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"+A", "+B", "+C", "-C", "-B", "-A"}, w.took()); diff != "" {
		t.Error(diff)
	}
	deleted, err := s.Describe(stack.ID)
	if err != nil || deleted.Status != "DELETE_COMPLETE" {
		t.Errorf("a deleted stack is described by its ARN as DELETE_COMPLETE, got %v, %v", deleted, err)
	}
	if _, err := s.Describe("Chain"); err == nil {
		t.Error("a deleted stack was found by its name")
	}
}

func TestIndependentResourcesAreMadeSideBySide(t *testing.T) {
	t.Parallel()
	// Each of two resources waits for the other to be under way.
	var both sync.WaitGroup
	both.Add(2)
	s := New(Options{Account: account, Types: map[string]Type{"Test::Thing": {
		Create: func(r Request) (Result, error) {
			both.Done()
			both.Wait()
			return Result{PhysicalID: r.LogicalID}, nil
		},
	}}})
	body := `{"Resources":{"A":{"Type":"Test::Thing"},"B":{"Type":"Test::Thing"}}}`
	if _, err := create(t, s, "Pair", body); err != nil {
		t.Fatal(err)
	}
}

func TestAFailedCreateRollsBackAndLeavesNothing(t *testing.T) {
	t.Parallel()
	w := &world{faults: faults{failCreate: map[string]bool{"B": true}}}
	s := w.service()
	stack, err := create(t, s, "Chain", chain)
	if err == nil || !strings.Contains(err.Error(), "B (Test::Thing): the world says no") {
		t.Errorf("the error must name the resource and its reason, is %v", err)
	}
	if stack.Status != "ROLLBACK_COMPLETE" || len(stack.Resources) != 0 {
		t.Errorf("stack is %s with %d resources", stack.Status, len(stack.Resources))
	}
	if diff := cmp.Diff([]string{"+A", "-A"}, w.took()); diff != "" {
		t.Error(diff)
	}
	var statuses []string
	for _, e := range stack.Events {
		statuses = append(statuses, e.LogicalID+" "+e.Status)
	}
	want := []string{
		"Chain CREATE_IN_PROGRESS", "A CREATE_IN_PROGRESS", "A CREATE_COMPLETE", "B CREATE_IN_PROGRESS", "B CREATE_FAILED",
		"Chain ROLLBACK_IN_PROGRESS", "A DELETE_IN_PROGRESS", "A DELETE_COMPLETE", "Chain ROLLBACK_COMPLETE",
	}
	if diff := cmp.Diff(want, statuses); diff != "" {
		t.Error(diff)
	}
	if _, err := create(t, s, "Chain", chain); err == nil || !strings.Contains(err.Error(), "already exists") {
		t.Errorf("a rolled-back stack must be deleted before its name is used again, got %v", err)
	}
}

func TestAFailedDeleteKeepsWhatItNeedsAndCanBeTriedAgain(t *testing.T) {
	t.Parallel()
	w := &world{faults: faults{failDelete: map[string]bool{"B": true}}}
	s := w.service()
	stack, err := create(t, s, "Chain", chain)
	if err != nil {
		t.Fatal(err)
	}
	err = remove(t, s, "Chain")
	if err == nil || !strings.Contains(err.Error(), "DELETE_FAILED: B (Test::Thing): the world holds on") {
		t.Errorf("got %v", err)
	}
	stack, err = s.Describe(stack.ID)
	if err != nil || stack.Status != "DELETE_FAILED" || len(stack.Resources) != 2 {
		t.Errorf("stack is %s with %d resources, want DELETE_FAILED with A and B: %v", stack.Status, len(stack.Resources), err)
	}
	w.failDelete = nil
	if err := remove(t, s, "Chain"); err != nil {
		t.Errorf("the second try: %v", err)
	}
	if diff := cmp.Diff([]string{"+A", "+B", "+C", "-C", "-B", "-A"}, w.took()); diff != "" {
		t.Error(diff)
	}
}

// Policies are those of the template reference's pages on DeletionPolicy and
// UpdateReplacePolicy.
func TestPoliciesDecideWhatStays(t *testing.T) {
	t.Parallel()
	resource := func(name, policies string) string {
		return fmt.Sprintf(`{"Resources":{"A":{"Type":"Test::Thing","Properties":{"Name":%q}%s},"B":{"Type":"Test::Thing","DependsOn":"A"}}}`, name, policies)
	}
	const gone = `{"Resources":{"B":{"Type":"Test::Thing"}}}`
	for _, c := range []struct {
		claim    string
		from, to string // to is empty for a deletion
		fails    faults
		stays    bool // an A
	}{
		{"DeletionPolicy Delete deletes", resource("a", `,"DeletionPolicy":"Delete"`), "", faults{}, false},
		{"DeletionPolicy Retain outlives the stack", resource("a", `,"DeletionPolicy":"Retain"`), "", faults{}, true},
		{"DeletionPolicy RetainExceptOnCreate outlives the stack", resource("a", `,"DeletionPolicy":"RetainExceptOnCreate"`), "", faults{}, true},
		{"DeletionPolicy Retain outlives its removal from the template", resource("a", `,"DeletionPolicy":"Retain"`), gone, faults{}, true},
		{"UpdateReplacePolicy Retain says nothing of a removal", resource("a", `,"UpdateReplacePolicy":"Retain"`), gone, faults{}, false},
		{"DeletionPolicy Retain says nothing of a replacement", resource("a", `,"DeletionPolicy":"Retain"`), resource("b", ""), faults{}, false},
		{"UpdateReplacePolicy Retain keeps what is replaced", resource("a", `,"UpdateReplacePolicy":"Retain"`), resource("b", ""), faults{}, true},
		{"UpdateReplacePolicy Snapshot deletes what has no snapshots", resource("a", `,"UpdateReplacePolicy":"Snapshot"`), resource("b", ""), faults{}, false},
		{"DeletionPolicy Retain outlives a creation that rolls back", resource("a", `,"DeletionPolicy":"Retain"`), "", faults{failCreate: map[string]bool{"B": true}}, true},
		{"DeletionPolicy RetainExceptOnCreate does not", resource("a", `,"DeletionPolicy":"RetainExceptOnCreate"`), "", faults{failCreate: map[string]bool{"B": true}}, false},
		{
			"DeletionPolicy RetainExceptOnCreate does not outlive an update that rolls back", gone, strings.Replace(resource("a", `,"DeletionPolicy":"RetainExceptOnCreate"`), `"DependsOn"`, `"Properties":{"Size":2},"DependsOn"`, 1),
			faults{failUpdate: map[string]bool{"B": true}},
			false,
		},
	} {
		t.Run(c.claim, func(t *testing.T) {
			t.Parallel()
			w := &world{faults: c.fails}
			s := w.service()
			stack, err := create(t, s, "S", c.from)
			if (err != nil) != (c.fails.failCreate != nil) {
				t.Fatal(err)
			}
			switch {
			case stack.Status != "CREATE_COMPLETE":
			case c.to == "":
				err = remove(t, s, "S")
			default:
				_, err = update(t, s, "S", c.to)
			}
			if (err != nil) != (c.fails.failCreate != nil || c.fails.failUpdate != nil) {
				t.Error(err)
			}
			if got := !slices.Contains(w.took(), "-A"); got != c.stays {
				t.Errorf("A stays: %v; the world saw %v", got, w.took())
			}
		})
	}
}

// What AWS leaves behind when it deletes a stack does not fail the deletion, and
// the events say it.
func TestWhatIsLeftBehindIsSaid(t *testing.T) {
	t.Parallel()
	s := New(Options{Account: account, Types: map[string]Type{"Test::Thing": {
		Create: func(Request) (Result, error) { return Result{PhysicalID: "x"}, nil },
		Delete: func(Request) error { return &LeftError{Reason: "it takes three days"} },
	}}})
	stack, err := create(t, s, "S", `{"Resources":{"A":{"Type":"Test::Thing"}}}`)
	if err != nil {
		t.Fatal(err)
	}
	if err := remove(t, s, "S"); err != nil {
		t.Fatal(err)
	}
	events := mustDescribe(t, s, stack.ID).Events
	if e := events[len(events)-2]; e.LogicalID != "A" || e.Status != "DELETE_COMPLETE" || e.StatusReason != "it takes three days" {
		t.Errorf("the event is %+v", e)
	}
}

// Whoever polls must neither see the status before the operation, nor be told
// that it has ended while it has not: the CDK CLI would go on too early.
func TestAStatusIsTrueAtOnce(t *testing.T) {
	t.Parallel()
	s := (&world{}).service()
	stack, err := create(t, s, "S", things("a", 1, 1))
	if err != nil {
		t.Fatal(err)
	}
	for size := range 20 {
		if _, err := s.Update(Input{Name: "S", TemplateBody: []byte(things("a", size+2, 1))}); err != nil {
			t.Fatalf("update %d: %v", size, err) // "is in UPDATE_COMPLETE state and can not be updated"
		}
		for complete := false; !complete; {
			now := mustDescribe(t, s, stack.ID)
			complete = now.Status == "UPDATE_COMPLETE"
			if complete && !strings.Contains(now.TemplateBody, fmt.Sprintf(`"Size":%d`, size+2)) {
				t.Fatalf("after update %d began, the stack is still what it was before", size)
			}
		}
	}
}

func TestOldDeletedStacksAreForgotten(t *testing.T) {
	t.Parallel()
	s := (&world{}).service()
	var first string
	for i := range maxDeleted + 1 {
		stack, err := create(t, s, "S", things("a", 1, 1))
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = stack.ID
		}
		if err := remove(t, s, "S"); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(s.List()); n != maxDeleted {
		t.Errorf("%d stacks are remembered", n)
	}
	if _, err := s.Describe(first); err == nil {
		t.Error("it is not the oldest that was forgotten")
	}
}

func TestIntrinsics(t *testing.T) {
	t.Parallel()
	const parts = `"Parameters":{"P":{"Type":"String","Default":"x"},"N":{"Type":"Number","Default":3},"L":{"Type":"CommaDelimitedList","Default":"a, b"},
		"V":{"Type":"AWS::SSM::Parameter::Value<String>","Default":"/version"}},
	 "Mappings":{"M":{"eu-west-1":{"k":"mapped"}}},
	 "Conditions":{"Yes":{"Fn::Equals":[{"Ref":"P"},"x"]},"No":{"Fn::Not":[{"Condition":"Yes"}]},
	  "Both":{"Fn::And":[{"Condition":"Yes"},{"Fn::Or":[{"Condition":"No"},{"Fn::Equals":[{"Ref":"N"},"3"]}]}]}}`
	for _, c := range []struct{ claim, value, want string }{
		{"Ref of a parameter", `{"Ref":"P"}`, "x"},
		{"Ref of an SSM parameter is its value", `{"Ref":"V"}`, "21"},
		{"Ref of a resource is its physical id", `{"Ref":"A"}`, "a"},
		{"Ref of a pseudo parameter", `{"Ref":"AWS::AccountId"}`, "123456789012"},
		{"GetAtt as a list", `{"Fn::GetAtt":["A","Arn"]}`, "arn:a"},
		{"GetAtt as a string", `{"Fn::GetAtt":"A.Arn"}`, "arn:a"},
		{"Sub takes parameters, attributes and pseudo parameters", `{"Fn::Sub":"${P}/${A.Arn}/${AWS::Partition}"}`, "x/arn:a/aws"},
		{"Sub takes variables of its own", `{"Fn::Sub":["${v}-${P}",{"v":{"Ref":"A"}}]}`, "a-x"},
		{"Sub leaves ${!x} for others to read", `{"Fn::Sub":"${!iot:Connection.Thing.ThingName}"}`, "${iot:Connection.Thing.ThingName}"},
		{"Join", `{"Fn::Join":["-",["a",{"Ref":"P"},1]]}`, "a-x-1"},
		{"Select and Split", `{"Fn::Select":[1,{"Fn::Split":[":","a:b:c"]}]}`, "b"},
		{"Select from a list parameter", `{"Fn::Select":["1",{"Ref":"L"}]}`, "b"},
		{"FindInMap", `{"Fn::FindInMap":["M",{"Ref":"AWS::Region"},"k"]}`, "mapped"},
		{"Base64", `{"Fn::Base64":"hi"}`, "aGk="},
		{"If takes the branch of its condition", `{"Fn::If":["Both","yes","no"]}`, "yes"},
		{"If takes the other branch", `{"Fn::If":["No","yes","no"]}`, "no"},
	} {
		t.Run(c.claim, func(t *testing.T) {
			t.Parallel()
			body := fmt.Sprintf(`{%s,"Resources":{"A":{"Type":"Test::Thing","Properties":{"Name":"a"}}},"Outputs":{"O":{"Value":%s}}}`, parts, c.value)
			stack, err := create(t, (&world{}).service(), "S", body)
			if err != nil {
				t.Fatal(err)
			}
			if got := stack.Output("O"); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestYAMLIsReadWithShortForms(t *testing.T) {
	t.Parallel()
	const body = `
Conditions:
  Yes: !Equals [!Ref AWS::Region, eu-west-1]
Resources:
  A:
    Type: Test::Thing
    Properties:
      Name: !If [Yes, a, b]
Outputs:
  O:
    Value: !Join ["|", [!GetAtt A.Arn, !Sub "${A}", 2012-10-17, 1.10, !Select [0, !Split [",", "x,y"]]]]
`
	stack, err := create(t, (&world{}).service(), "S", body)
	if err != nil {
		t.Fatal(err)
	}
	if got := stack.Output("O"); got != "arn:a|a|2012-10-17|1.10|x" {
		t.Errorf("got %q", got)
	}
}

func TestNoValueLeavesThePropertyOut(t *testing.T) {
	t.Parallel()
	var got map[string]any
	s := New(Options{Account: account, Types: map[string]Type{"Test::Thing": {
		Properties: []string{"List"},
		Create: func(r Request) (Result, error) {
			got = r.Properties
			return Result{PhysicalID: "x"}, nil
		},
	}}})
	body := `{"Resources":{"A":{"Type":"Test::Thing","Properties":{"Gone":{"Ref":"AWS::NoValue"},"List":["a",{"Ref":"AWS::NoValue"}]}}}}`
	if _, err := create(t, s, "S", body); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]any{"List": []any{"a"}}, got); diff != "" {
		t.Error(diff)
	}
}

func TestConditionsLeaveResourcesAndOutputsOut(t *testing.T) {
	t.Parallel()
	w := &world{}
	body := `{"Conditions":{"Never":{"Fn::Equals":["a","b"]}},"Resources":{"A":{"Type":"Test::Thing"},"B":{"Type":"Test::Thing","Condition":"Never"}},
	 "Outputs":{"O":{"Condition":"Never","Value":{"Ref":"B"}}}}`
	stack, err := create(t, w.service(), "S", body)
	if err != nil {
		t.Fatal(err)
	}
	if len(stack.Resources) != 1 || len(stack.Outputs) != 0 {
		t.Errorf("got %v and %v", stack.Resources, stack.Outputs)
	}
}

func TestExportsHoldTheirStack(t *testing.T) {
	t.Parallel()
	s := (&world{}).service()
	exporting := `{"Resources":{"A":{"Type":"Test::Thing","Properties":{"Name":"shared"}}},"Outputs":{"O":{"Value":{"Ref":"A"},"Export":{"Name":"E"}}}}`
	importing := `{"Resources":{"A":{"Type":"Test::Thing","Properties":{"Name":{"Fn::ImportValue":"E"}}}}}`
	if _, err := create(t, s, "Exporter", exporting); err != nil {
		t.Fatal(err)
	}
	stack, err := create(t, s, "Importer", importing)
	if err != nil {
		t.Fatal(err)
	}
	if got := stack.Resources["A"].PhysicalID; got != "shared" {
		t.Errorf("imported %q", got)
	}
	if err := remove(t, s, "Exporter"); err == nil || !strings.Contains(err.Error(), "Cannot delete export E as it is in use by Importer.") {
		t.Errorf("got %v", err)
	}
}

// The template of cdk bootstrap has keys of KMS that a condition leaves out.
func TestWhatAConditionLeavesOutMayBeAnything(t *testing.T) {
	t.Parallel()
	template := `{"Conditions":{"C":{"Fn::Equals":["a","%s"]}},"Resources":{"A":{"Type":"Test::Thing"},"K":{"Type":"AWS::KMS::Key","Condition":"C"}}}`
	if _, err := create(t, (&world{}).service(), "Without", fmt.Sprintf(template, "b")); err != nil {
		t.Errorf("left out: %v", err)
	}
	if _, err := create(t, (&world{}).service(), "With", fmt.Sprintf(template, "a")); err == nil || !strings.Contains(err.Error(), "Unrecognized resource types: [AWS::KMS::Key]") {
		t.Errorf("not left out: %v", err)
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	resource := func(inner string) string { return `{"Resources":{"A":{"Type":"Test::Thing"` + inner + `}}}` }
	for _, c := range []struct{ claim, body, want string }{
		{"an unknown resource type", `{"Resources":{"A":{"Type":"AWS::EC2::Instance"}}}`, "Template format error: Unrecognized resource types: [AWS::EC2::Instance]"},
		{"an unknown attribute", resource(`,"Properties":{}},"B":{"Type":"Test::Thing","Properties":{"Name":{"Fn::GetAtt":["A","Size"]}}`), "resource A does not support attribute type Size in Fn::GetAtt"},
		{"an unknown intrinsic", resource(`,"Properties":{"Name":{"Fn::Cidr":["10.0.0.0/8",1]}}`), "not supported by this local endpoint: intrinsic function Fn::Cidr"},
		{"a reference to nothing", resource(`,"Properties":{"Name":{"Ref":"Nobody"}}`), "Unresolved resource dependencies [Nobody] in the Resources block of the template"},
		{"a Sub of nothing", resource(`,"Properties":{"Name":{"Fn::Sub":"${Nobody.Arn}"}}`), "instance of Fn::Sub references invalid resource attribute Nobody.Arn"},
		{"a Sub without an end", resource(`,"Properties":{"Name":{"Fn::Sub":"${A"}}`), "${ without }"},
		{"a dependency on nothing", resource(`,"DependsOn":"Nobody"`), "Unresolved resource dependencies [Nobody] in the Resources block of the template"},
		{"a cycle", `{"Resources":{"A":{"Type":"Test::Thing","DependsOn":"B"},"B":{"Type":"Test::Thing","Properties":{"Name":{"Ref":"A"}}}}}`, "Circular dependency between resources: [A, B]"},
		{"a condition that needs itself", `{"Conditions":{"C":{"Fn::Not":[{"Condition":"C"}]}},"Resources":{"A":{"Type":"Test::Thing"}}}`, "Circular dependency between conditions: [C, C]"},
		{"an unknown section", `{"Resources":{"A":{"Type":"Test::Thing"}},"Transform":"AWS::Serverless"}`, "not supported by this local endpoint: Transform AWS::Serverless"},
		{"a snapshot of what has none", resource(`,"DeletionPolicy":"Snapshot"`), "resource type Test::Thing does not support deletion policy Snapshot"},
		{"an unknown policy", resource(`,"DeletionPolicy":"Keep"`), "Unrecognized DeletionPolicy Keep for resource A"},
		{"a policy that replacement does not have", resource(`,"UpdateReplacePolicy":"RetainExceptOnCreate"`), "Unrecognized UpdateReplacePolicy RetainExceptOnCreate for resource A"},
		{"an unknown attribute of a resource", resource(`,"CreationPolicy":{}`), "not supported by this local endpoint: CreationPolicy of A"},
		{"no resources", `{"Resources":{}}`, "Template format error: At least one Resources member must be defined."},
		{"neither JSON nor YAML", `{Resources`, "Template format error: JSON not well-formed. (line 1, column 3)"},
		{"a list", `- Resources`, "Template format error: unsupported structure."},
		{"YAML aliases", "Resources:\n  A: &a {Type: Test::Thing}\n  B: *a", "aliases are not supported"},
		{"a key that is there twice", "Resources:\n  A: {Type: Test::Thing}\n  A: {Type: Test::Thing}", `key "A" is there twice`},
		{"deep nesting", resource(`,"Properties":{"Name":` + strings.Repeat("[", 200) + strings.Repeat("]", 200) + `}`), "nests deeper than"},
		{"a rule that does not hold", `{"Parameters":{"V":{"Type":"AWS::SSM::Parameter::Value<String>","Default":"/version"}},
		  "Rules":{"Check":{"Assertions":[{"Assert":{"Fn::Not":[{"Fn::Contains":[["1","21"],{"Ref":"V"}]}]},"AssertDescription":"too old"}]}},
		  "Resources":{"A":{"Type":"Test::Thing"}}}`, "rule Check does not hold: too old"},
		{"a parameter without a value", `{"Parameters":{"P":{"Type":"String"}},"Resources":{"A":{"Type":"Test::Thing"}}}`, "Parameters: [P] must have values"},
		{"an SSM parameter that is not there", `{"Parameters":{"P":{"Type":"AWS::SSM::Parameter::Value<String>","Default":"/none"}},"Resources":{"A":{"Type":"Test::Thing"}}}`, "Unable to fetch parameters [/none] from parameter store for this account."},
		{"a missing export", resource(`,"Properties":{"Name":{"Fn::ImportValue":"none"}}`), "No export named none found."},
	} {
		t.Run(c.claim, func(t *testing.T) {
			t.Parallel()
			w := &world{}
			s := w.service()
			_, err := create(t, s, "S", c.body)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want it to contain %q", err, c.want)
			}
			if made := slices.DeleteFunc(w.took(), func(s string) bool { return s == "+A" || s == "-A" }); len(made) > 0 {
				t.Errorf("made %v", made)
			}
		})
	}
}

// thing is a template of one resource.
func thing(properties, sections string) string {
	if properties != "" {
		properties = "," + properties
	}
	return `{"Resources":{"A":{"Type":"Test::Thing"` + properties + `}}` + sections + `}`
}

// doubled is a text that thirty functions within each other double.
func doubled(text string) string {
	v := `"` + text + `"`
	for range 30 {
		v = `{"Fn::Sub":["${a}${a}",{"a":` + v + `}]}`
	}
	return v
}

func many(n int, member string) string {
	var all []string
	for i := range n {
		all = append(all, strings.Replace(member, "%d", strconv.Itoa(i), 1))
	}
	return strings.Join(all, ",")
}

// Templates that are small and mean to be expensive end at once.
func TestHostileTemplates(t *testing.T) {
	t.Parallel()
	var conditions []string
	for i := 1; i < 100; i++ {
		conditions = append(conditions, fmt.Sprintf(`"C%d":{"Fn::And":[{"Condition":"C%d"},{"Condition":"C%d"}]}`, i, i-1, i-1))
	}
	long := `{"Type":"String","Default":"` + strings.Repeat("x", 4000) + `"}`
	split := `{"Fn::Split":[",","` + strings.Repeat(",", 100_000) + `"]}`
	for _, c := range []struct{ claim, body, want string }{
		{"conditions that double a hundred times", `{"Conditions":{"C0":{"Fn::Equals":["a","a"]},` + strings.Join(conditions, ",") + `},
			"Resources":{"A":{"Type":"Test::Thing","Condition":"C99"}}}`, ""},
		{"a text of 50 GB by Join", `{"Resources":{"A":{"Type":"Test::Thing","Properties":{"Name":{"Fn::Join":["` + strings.Repeat("x", 500_000) + `",` + split + `]}}}}}`, "the result has more than"},
		{"a text of 400 MB by Sub", `{"Parameters":{"P":{"Type":"String","Default":"` + strings.Repeat("x", 4000) + `"}},"Resources":{"A":{"Type":"Test::Thing",
			"Properties":{"Name":{"Fn::Sub":"` + strings.Repeat("${P}", 100_000) + `"}}}}}`, "the result has more than"},
		{"nothing, doubled by Sub thirty times in a property", thing(`"Properties":{"Name":`+doubled("")+`}`, ""), ""},
		{"nothing, doubled by Sub thirty times in a condition", `{"Conditions":{"C":{"Fn::Equals":[` + doubled("") + `,""]}},` + thing("", "")[1:], ""},
		{"nothing, doubled by Sub thirty times in an output", thing("", `,"Outputs":{"O":{"Value":`+doubled("")+`}}`), ""},
		{"a text doubled by Sub thirty times", thing(`"Properties":{"Name":`+doubled("x")+`}`, ""), "the result has more than"},
		{"large texts in many outputs", thing("", `,"Parameters":{"P":`+long+`},"Outputs":{`+many(200, `"O%d":{"Value":{"Fn::Sub":"`+strings.Repeat("${P}", 90)+`"}}`)+`}`), "take more work"},
		{"large texts in many conditions", `{"Parameters":{"P":` + long + `},"Conditions":{` + many(200, `"C%d":{"Fn::Equals":["",{"Fn::Sub":"`+strings.Repeat("${P}", 90)+`"}]}`) + `},` + thing("", "")[1:], "take more work"},
		{"a million of open brackets in YAML", "Resources: " + strings.Repeat("[", 1_000_000), "YAML not well-formed"},
		{"YAML that is a million lists deep", strings.Repeat("- ", 500_000), "YAML not well-formed"},
		{"a template that is too large", strings.Repeat(" ", 2<<20), "at most 1048576 are allowed"},
	} {
		t.Run(c.claim, func(t *testing.T) {
			t.Parallel()
			_, err := create(t, (&world{}).service(), "S", c.body)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %.200v, want %q", err, c.want)
			}
		})
	}
}

func FuzzTemplate(f *testing.F) {
	f.Add([]byte(chain))
	f.Add([]byte(`{"Resources":{"A":{"Type":"Test::Thing","Properties":{"Name":{"Fn::Sub":["${a}",{"a":{"Ref":"AWS::NoValue"}}]}}}}}`))
	f.Add([]byte(`{"Conditions":{"C":{"Fn::And":[{"Condition":"C"}]}},"Resources":{"A":{"Type":"x","Condition":"C"}}}`))
	f.Add([]byte(`{"Mappings":{"M":{"a":{"b":1}}},"Resources":{"A":{"Type":"Test::Thing","Properties":{"Name":{"Fn::FindInMap":["M","a",{"Ref":"A"}]}}}}}`))
	f.Add([]byte("Resources:\n  A:\n    Type: Test::Thing\n    Properties: {Name: !Sub '${AWS::Region}'}\n"))
	f.Fuzz(func(t *testing.T, body []byte) {
		s := (&world{}).service()
		stack, err := create(t, s, "S", string(body))
		if err == nil && stack.Status != "CREATE_COMPLETE" {
			t.Errorf("no error, but the stack is %s", stack.Status)
		}
	})
}
