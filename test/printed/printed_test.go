// Package printed holds the test that what people are told to paste can be pasted.
package printed

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iotdataplane"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

var root = filepath.Join("..", "..")

// A text is something that people read: a string of a program, or a page.
type text struct{ where, content string }

// texts are the strings of all programs, joined where the code joins them, and the pages.
func texts(t *testing.T) (all []text) {
	t.Helper()
	for _, dir := range []string{"cmd", "internal", "infra", "constructs"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			files := token.NewFileSet()
			file, err := parser.ParseFile(files, path, nil, 0)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				expression, ok := n.(ast.Expr)
				if !ok {
					return true
				}
				content, found := written(expression)
				if found {
					all = append(all, text{files.Position(n.Pos()).String(), content})
				}
				return !found
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, page := range []string{"README.md", "CONTRIBUTING.md", "docs/runbook.md"} {
		content, err := os.ReadFile(filepath.Join(root, page))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, text{page, strings.ReplaceAll(string(content), "\\\n", "")})
	}
	return all
}

// written is the text of strings that are joined; VALUE stands for what is not constant.
func written(e ast.Expr) (content string, found bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		if e.Kind == token.STRING {
			content, err := strconv.Unquote(e.Value)
			return content, err == nil
		}
	case *ast.BinaryExpr:
		left, a := written(e.X)
		right, b := written(e.Y)
		if e.Op != token.ADD || !a && !b {
			return "", false
		}
		if !a {
			left = "VALUE"
		}
		if !b {
			right = "VALUE"
		}
		return left + right, true
	}
	return "", false
}

var (
	// A command ends where a shell or a sentence ends it.
	command = regexp.MustCompile("\\b(go run \\./cmd/lwt|go run \\./cmd/simulator|lwt|simulator|npx cdk|aws) ([a-z][a-z0-9-]*)((?: +(?:\"[^\"]*\"|'[^']*'|[^\\s\"'`;,|>&)]+))*)")
	long    = regexp.MustCompile(`(?:^| )--([a-z][a-z0-9-]*)`)
	short   = regexp.MustCompile(`(?:^| )--?([a-zA-Z][a-zA-Z0-9-]*)`)
	quoted  = regexp.MustCompile(`"[^"]*"|'[^']*'`)
)

func TestEveryPrintedCommandIsOne(t *testing.T) {
	t.Parallel()
	bin := t.TempDir()
	build := exec.Command("go", "build", "-o", bin+string(filepath.Separator), "./cmd/lwt", "./cmd/simulator")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	run := func(program string, args ...string) string {
		cmd := exec.Command(program, args...)
		cmd.Dir = root
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s %v: %v", program, args, err)
		}
		return string(out)
	}
	lwt := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^  ([a-z]+) `).FindAllStringSubmatch(run(filepath.Join(bin, "lwt"), "help"), -1) {
		if m[1] != "version" {
			lwt[m[1]] = run(filepath.Join(bin, "lwt"), m[1], "-h")
		}
	}
	simulators := run(filepath.Join(bin, "simulator"), "-h") + run(filepath.Join(bin, "simulator"), "fleet", "-h")
	cdk := map[string]string{}
	seen := map[string]int{}
	for _, x := range texts(t) {
		for _, m := range command.FindAllStringSubmatch(x.content, -1) {
			whole, program, verb, rest := m[0], m[1], m[2], quoted.ReplaceAllString(m[3], "VALUE")
			wrong := func(what string) { t.Errorf("%s: %q: %s", x.where, whole, what) }
			switch program {
			case "lwt", "go run ./cmd/lwt":
				help, known := lwt[verb]
				if !known {
					if program != "lwt" && verb != "help" && verb != "version" {
						wrong("lwt has no command " + verb)
					}
					continue // a sentence
				}
				for _, flag := range short.FindAllStringSubmatch(rest, -1) {
					if flag[1] != "h" && !hasFlag(help, flag[1]) {
						wrong("lwt " + verb + " has no flag -" + flag[1])
					}
				}
			case "simulator", "go run ./cmd/simulator":
				for _, flag := range short.FindAllStringSubmatch(rest, -1) {
					if flag[1] != "h" && !hasFlag(simulators, flag[1]) {
						wrong("the simulator has no flag -" + flag[1])
					}
				}
			case "npx cdk":
				if cdk[verb] == "" {
					cdk[verb] = run(filepath.Join("node_modules", ".bin", "cdk"), verb, "--help")
				}
				if verb != "synth" && !strings.HasPrefix(cdk[verb], "cdk "+verb) {
					wrong("the CDK CLI has no command " + verb)
				}
				for _, flag := range long.FindAllStringSubmatch(rest, -1) {
					if !regexp.MustCompile(`--(\[no-\])?` + strings.TrimPrefix(flag[1], "no-") + `\b`).MatchString(cdk[verb]) {
						wrong("cdk " + verb + " has no option --" + flag[1])
					}
				}
			case "aws":
				if problem, isCommand := awsProblem(verb, rest); problem != "" {
					wrong(problem)
				} else if !isCommand {
					continue
				}
			}
			seen[program]++
		}
	}
	for program, least := range map[string]int{"lwt": 30, "go run ./cmd/lwt": 10, "npx cdk": 20, "aws": 40} {
		if seen[program] < least {
			t.Errorf("only %d commands of %s were found: %v", seen[program], program, seen)
		}
	}
	t.Logf("found %v", seen)
}

func hasFlag(help, name string) bool {
	return regexp.MustCompile(`(^|[\s,|\[])--?` + regexp.QuoteMeta(name) + `\b`).MatchString(help)
}

// services are those of the aws CLI by the names that it gives them.
var services = map[string]any{
	"cloudformation": &cloudformation.Client{}, "cloudwatch": &cloudwatch.Client{}, "logs": &cloudwatchlogs.Client{}, "iam": &iam.Client{},
	"iot": &iot.Client{}, "iot-data": &iotdataplane.Client{}, "lambda": &lambda.Client{}, "s3api": &s3.Client{}, "sns": &sns.Client{},
	"sqs": &sqs.Client{}, "sts": &sts.Client{},
}

// everywhere are flags of all commands of the aws CLI, and those that it adds to some.
var everywhere = []string{"query", "output", "region", "profile", "endpoint-url", "notification-endpoint", "set-as-active", "retain"}

// awsProblem judges a command of the aws CLI by the API's operations and their members,
// from which the CLI makes its commands and flags. The page may speak of aws in a sentence.
func awsProblem(service, rest string) (problem string, isCommand bool) {
	words := strings.Fields(rest)
	client, known := services[service]
	if !known || len(words) == 0 || strings.HasPrefix(words[0], "-") || !regexp.MustCompile(`^[a-z]+(-[a-z0-9]+)*$`).MatchString(words[0]) {
		return "", service == "s3" || service == "codeconnections"
	}
	if words[0] == "wait" {
		return "", true
	}
	name := words[0]
	method, ok := reflect.TypeOf(client).MethodByName(camel(name))
	if !ok {
		return service + " has no operation " + name, true
	}
	input := method.Type.In(2).Elem()
	for _, flag := range long.FindAllStringSubmatch(rest, -1) {
		_, member := input.FieldByNameFunc(func(field string) bool { return strings.EqualFold(field, strings.ReplaceAll(flag[1], "-", "")) })
		if !member && !slices.Contains(everywhere, flag[1]) {
			return service + " " + name + " has no option --" + flag[1], true
		}
	}
	return "", true
}

// camel makes an operation's name of a command's.
func camel(name string) string {
	var b strings.Builder
	for part := range strings.SplitSeq(name, "-") {
		b.WriteString(strings.ToUpper(part[:1]) + part[1:])
	}
	return b.String()
}
