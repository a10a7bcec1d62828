// Package synth tests the CDK app as its users start it: by the pinned CDK CLI,
// with cdk.json and with CloudFormation validation on.
package synth

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const root = "../.."

// golden is where the CSRs and templates of infra/monitoring's tests are.
const golden = "infra/monitoring/testdata"

func TestTemplatesPassStrictValidation(t *testing.T) {
	cases := []struct {
		name, stack string
		context     []string
	}{
		{"default", "Lastwill", []string{"email=ops@example.com"}},
		{"check", "Lastwill", []string{"email=ops@example.com", "check=true"}},
		{"confirmed", "Lastwill", []string{"email=ops@example.com", "grace=3m"}},
		{"environment", "Lastwill-staging", []string{
			"environment=staging",
			"email=ops@example.com,night.shift+iot@example.org",
			"things=lwtThing,pump,valve_7",
			"keepAlive=60",
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			out := t.TempDir()
			args := []string{"synth", "--strict", "--quiet", "--output", out, "-c", "certs=" + golden + "/certs"}
			for _, setting := range c.context {
				args = append(args, "-c", setting)
			}
			if r := cdk(t, nil, args...); r.code != 0 {
				t.Fatalf("exit code %d:\n%s", r.code, r.output)
			}
			if _, err := os.Stat(filepath.Join(out, "validation-report.json")); err != nil {
				t.Errorf("nothing was validated: %v", err)
			}
			// What cdk.json says must not change what the golden templates claim.
			got := resources(t, filepath.Join(out, c.stack+".template.json"))
			want := resources(t, filepath.Join(root, golden, c.name+".template.json"))
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("resources differ from the golden template (-want +got):\n%s", diff)
			}
		})
	}
}

// Validation takes longer than all the rest of a synthesis, so only those who ask wait for it.
func TestOnlyWhoAsksWaitsForValidation(t *testing.T) {
	for _, c := range []struct {
		name      string
		env, args []string
		validated bool
	}{
		{"a command by hand", nil, nil, false},
		{"--strict", nil, []string{"--strict"}, true},
		{"a build machine", []string{"CI=true"}, nil, true},
		{"AWS CodeBuild", []string{"CODEBUILD_BUILD_ID=lastwill:1"}, nil, true},
		{"a build machine that says no", []string{"CI=true", "CDK_VALIDATION=false"}, nil, false},
		{"a command by hand that says yes", []string{"CDK_VALIDATION=true"}, nil, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			out := t.TempDir()
			args := append([]string{"synth", "--quiet", "--output", out, "-c", "certs=" + golden + "/certs", "-c", "email=ops@example.com"}, c.args...)
			if r := cdk(t, c.env, args...); r.code != 0 {
				t.Fatalf("exit code %d:\n%s", r.code, r.output)
			}
			_, err := os.Stat(filepath.Join(out, "validation-report.json"))
			if validated := err == nil; validated != c.validated {
				t.Errorf("validated: %t, want %t", validated, c.validated)
			}
		})
	}
}

// hash is that of an asset, or the fingerprint of what a check checks, in which the
// asset is: the golden templates have a stand-in for the program.
var hash = regexp.MustCompile(`"[0-9a-f]{64}(\.zip)?"`)

func resources(t *testing.T, file string) any {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	content = hash.ReplaceAll(content, []byte(`"HASH"`))
	var template struct{ Resources any }
	if err := json.Unmarshal(content, &template); err != nil {
		t.Fatal(err)
	}
	return template.Resources
}

func TestMistakesStopSynthesisWithoutAStackTrace(t *testing.T) {
	certs := filepath.Join(t.TempDir(), "certs")
	cases := []struct {
		name    string
		env     []string
		context []string
		want    string
	}{
		{
			"bad settings, all at once", nil,
			[]string{"email=me@", "keepAlive=5", "environment=a_b", "enviroments=other.json"},
			`lastwill: error: problems with the configuration: 4
  enviroments: is no setting: did you mean environments?
  environment: "a_b" cannot be part of all names: use 1 to 88 letters and digits, with single hyphens between them
  email: e-mail address "me@": give one address such as ops@example.com
  keepAlive: 5 seconds: AWS IoT Core honours 30 to 1200, use one of these
`,
		},
		{
			"no CSR on a build machine",
			[]string{"CI=true"},
			[]string{"email=ops@example.com", "certs=" + certs},
			`lastwill: error: problems with the configuration: 1
  certs: ` + certs + `/lwtThing.csr is missing: on a workstation, with all settings of this run, npx cdk synth --quiet makes it and ` + certs + `/lwtThing.key; then git add -f ` + certs + `/lwtThing.csr and commit it
`,
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			args := []string{"synth", "--quiet", "--output", t.TempDir()}
			for _, setting := range c.context {
				args = append(args, "-c", setting)
			}
			r := cdk(t, c.env, args...)
			if r.code != 1 {
				t.Errorf("exit code %d, want 1", r.code)
			}
			if !strings.Contains(r.output, c.want) {
				t.Errorf("got:\n%s\nwant in it:\n%s", r.output, c.want)
			}
			if trace := regexp.MustCompile(`goroutine \d|panic|\.go:\d|\n\s+at |waitid|end-of-life`).FindString(r.output); trace != "" {
				t.Errorf("%q on the user's screen:\n%s", trace, r.output)
			}
			if _, err := os.Stat(certs); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("a folder for keys was made (%v)", err)
			}
		})
	}
}

// The CDK reports by exceptions of its own, which jsii makes panics.
func TestAnErrorOfTheCDKIsOneLine(t *testing.T) {
	t.Parallel()
	app := filepath.Join(t.TempDir(), "infra")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", app, "./infra")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cmd := exec.CommandContext(t.Context(), app)
	cmd.Env = []string{"PATH="} // no node
	out, err := cmd.CombinedOutput()
	if want := "lastwill: error: synthesis failed: exec: \"node\": executable file not found in $PATH\n"; err == nil || string(out) != want {
		t.Errorf("err %v, output:\n%s\nwant %s", err, out, want)
	}
}

func TestAWorkstationGetsItsKeys(t *testing.T) {
	certs := filepath.Join(t.TempDir(), "certs")
	r := cdk(t, []string{"CDK_VALIDATION=false"}, "synth", "--quiet", "--output", t.TempDir(), "-c", "email=ops@example.com", "-c", "certs="+certs)
	if r.code != 0 {
		t.Fatalf("exit code %d:\n%s", r.code, r.output)
	}
	if info, err := os.Stat(filepath.Join(certs, "lwtThing.key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key: %v, %v", info, err)
	}
	if _, err := os.Stat(filepath.Join(certs, "lwtThing.csr")); err != nil {
		t.Error(err)
	}
	if noise := regexp.MustCompile(`waitid|end-of-life`).FindString(r.output); noise != "" {
		t.Errorf("%q on the user's screen:\n%s", noise, r.output)
	}
}

// awsec2 doubles the build, and much of the CDK pulls it in.
func TestTheAppDoesNotBuildEC2(t *testing.T) {
	t.Parallel()
	deps := exec.CommandContext(t.Context(), "go", "list", "-deps", "./infra", "./infra/monitoring", "./constructs/...")
	deps.Dir = root
	out, err := deps.Output()
	if err != nil {
		t.Fatal(err)
	}
	packages := strings.Fields(string(out))
	if !slices.Contains(packages, "github.com/aws/aws-cdk-go/awscdk/v2/awsiot") {
		t.Fatal("the list has no CDK packages at all")
	}
	for _, p := range packages {
		if strings.HasSuffix(p, "/awsec2") {
			t.Errorf("%s is built: find the import with go list -deps, and see whether an L1 does", p)
		}
	}
}

type result struct {
	code   int
	output string
}

// cdk runs the pinned CLI as on a workstation without AWS; env comes on top.
func cdk(t *testing.T, env []string, args ...string) result {
	t.Helper()
	cli := filepath.Join("node_modules", ".bin", "cdk")
	if _, err := os.Stat(filepath.Join(root, cli)); err != nil {
		t.Fatalf("%v: run npm ci", err)
	}
	cmd := exec.CommandContext(t.Context(), cli, append(args, "--no-notices", "--no-color")...)
	cmd.Dir = root
	cmd.Env = workstation()
	cmd.Env = append(cmd.Env, env...)
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{cmd.ProcessState.ExitCode(), output.String()}
}

// workstation is the environment of one without AWS.
func workstation() []string {
	return append(slices.DeleteFunc(os.Environ(), misleading), "CDK_DISABLE_CLI_TELEMETRY=1")
}

// misleading are variables of the machine that runs the tests, which would
// change what the app does.
func misleading(setting string) bool {
	name, _, _ := strings.Cut(setting, "=")
	return name == "CI" || name == "CODEBUILD_BUILD_ID" || strings.HasPrefix(name, "AWS_") ||
		strings.HasPrefix(name, "CDK_") || strings.HasPrefix(name, "JSII_")
}
