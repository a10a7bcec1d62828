package will

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// outputs are a stack's with two things.
func outputs() map[string]string {
	return map[string]string{
		"ThingName": "pump,fan", "CertificateId": "1,2", "PolicyName": "policy", "RuleName": "rule", "SNSTopicArn": "arn:aws:sns:eu-central-1:1:t",
		"ErrorLogGroup": "log", "WillTopic": "w", "ConnectedTopic": "c", "ExecutedTopic": "e",
	}
}

func TestTargetOfAStack(t *testing.T) {
	t.Parallel()
	target := NewTarget("Lastwill", outputs())
	if err := target.Check(); err != nil {
		t.Error(err)
	}
	got, err := json.Marshal(target)
	want := `{"stack":"Lastwill","thing":"pump","policy":"policy","rule":"rule","snsTopic":"arn:aws:sns:eu-central-1:1:t",` +
		`"errorLog":"log","willTopic":"w","connectedTopic":"c","executedTopic":"e"}`
	if diff := cmp.Diff(want, string(got)); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

func TestTargetNamesTheOutputThatIsMissing(t *testing.T) {
	t.Parallel()
	for _, part := range new(Target).parts() {
		without := outputs()
		delete(without, part.output)
		missing, ok := errors.AsType[*MissingOutputError](NewTarget("Lastwill", without).Check())
		if !ok || missing.Output != part.output {
			t.Errorf("without %s: %v", part.output, missing)
		}
	}
}

// alsoAWS are names of outputs that AWS has for properties of resources and
// dimensions of metrics, and the rooms that use them so.
var alsoAWS = map[string][]string{
	OutputThingName:  {"internal/localaws"},
	OutputPolicyName: {"internal/localaws"},
	OutputRuleName:   {"internal/localaws", "constructs/health"},
}

func TestNoOutputIsNamedOutsideOfThisPackage(t *testing.T) {
	t.Parallel()
	names := outputConstants(t)
	if len(names) < 12 {
		t.Fatalf("the outputs of stack.go are %v", names)
	}
	quoted := regexp.MustCompile("[\"'`](" + strings.Join(names, "|") + ")[\"'`]")
	root := filepath.Join("..", "..")
	seen := 0
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			hidden := strings.HasPrefix(entry.Name(), ".") && path != root
			if hidden || slices.Contains([]string{"node_modules", "testdata", "cdk.out", "dist"}, entry.Name()) {
				return filepath.SkipDir
			}
			return nil
		}
		room, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		room = filepath.ToSlash(room)
		var found []string
		switch {
		case strings.HasSuffix(path, "_test.go") || room == "internal/will":
			return nil
		case strings.HasSuffix(path, ".go"):
			seen++
			found = literals(t, path)
		case strings.HasPrefix(room, "internal/page"):
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for _, match := range quoted.FindAllSubmatch(b, -1) {
				found = append(found, string(match[1]))
			}
		}
		for _, name := range found {
			inRoom := func(r string) bool { return room == r || strings.HasPrefix(room, r+"/") }
			if slices.Contains(names, name) && !slices.ContainsFunc(alsoAWS[name], inRoom) {
				t.Errorf("%s has the output's name %q as a text: use the constant of package will", path, name)
			}
		}
		return nil
	})
	if err != nil || seen < 50 {
		t.Fatalf("looked at %d files: %v", seen, err)
	}
}

// outputConstants are the values of the constants in stack.go whose names begin
// with Output.
func outputConstants(t *testing.T) (names []string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "stack.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if ok && strings.HasPrefix(spec.Names[0].Name, "Output") {
			names = append(names, literalsOf(t, spec)...)
		}
		return true
	})
	return names
}

func literals(t *testing.T, path string) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	return literalsOf(t, file)
}

func literalsOf(t *testing.T, n ast.Node) (texts []string) {
	t.Helper()
	ast.Inspect(n, func(n ast.Node) bool {
		if l, ok := n.(*ast.BasicLit); ok && l.Kind == token.STRING {
			text, err := strconv.Unquote(l.Value)
			if err != nil {
				t.Fatal(err)
			}
			texts = append(texts, text)
		}
		return true
	})
	return texts
}
