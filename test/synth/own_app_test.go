package synth

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// docs/constructs.md is what people paste, so its app is what is built here, outside
// this module, in both ways that the page names.
func TestTheConstructsWorkInAnAppOfOnesOwn(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root, "docs", "constructs.md"))
	if err != nil {
		t.Fatal(err)
	}
	main := block(t, string(page), "go")
	module, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	for name, commands := range map[string][]string{
		"replace": {"go mod init pumps", "go mod edit -replace lastwill=" + module, "go mod tidy"},
		"go work": {"go mod init pumps", "go work init . " + module},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, filepath.Join(dir, "main.go"), main)
			write(t, filepath.Join(dir, "cdk.json"), block(t, string(page), "json"))
			for _, command := range commands {
				if out, err := in(t, dir, strings.Fields(command)...).CombinedOutput(); err != nil {
					t.Fatalf("%s: %v\n%s", command, err, out)
				}
			}
			cli, err := filepath.Abs(filepath.Join(root, "node_modules", ".bin", "cdk"))
			if err != nil {
				t.Fatal(err)
			}
			if out, err := in(t, dir, cli, "synth", "--quiet", "--no-notices").CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			template, err := os.ReadFile(filepath.Join(dir, "cdk.out", "Pumps.template.json"))
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range []string{`"pumpWills"`, `"https://example.com/alerts"`} {
				if !strings.Contains(string(template), want) {
					t.Errorf("the template has no %s", want)
				}
			}
			if strings.Contains(string(template), `"email"`) {
				t.Error("somebody gets an e-mail")
			}

			write(t, filepath.Join(dir, "main.go"), strings.ReplaceAll(main, "pumpWills", "pump-wills"))
			out, err := in(t, dir, "go", "run", ".").CombinedOutput()
			want := "pumps: error: synthesis failed: rule name \"pump-wills\": use 1 to 128 letters, digits and underscores\n"
			if err == nil || !strings.HasPrefix(string(out), want) || strings.Contains(string(out), "goroutine") {
				t.Errorf("err %v, output:\n%s\nwant %s", err, out, want)
			}
		})
	}
}

// block is the first block of a kind on a page.
func block(t *testing.T, page, kind string) string {
	t.Helper()
	found := regexp.MustCompile("(?s)```" + kind + "\n(.*?)```").FindStringSubmatch(page)
	if found == nil {
		t.Fatalf("the page has no block of %s", kind)
	}
	return found[1]
}

func write(t *testing.T, file, content string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// in is a command in a folder, as on a workstation without AWS.
func in(t *testing.T, dir string, command ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
	cmd.Dir = dir
	cmd.Env = append(workstation(), "GOFLAGS=", "GOWORK=", "CDK_VALIDATION=false", "JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION=20")
	return cmd
}

// A routine command of the CLI writes into the context, and a user's own file is for
// all apps: neither may lock anybody out.
func TestTheContextOfOthersIsLetPass(t *testing.T) {
	home, dir := t.TempDir(), t.TempDir()
	app := filepath.Join(dir, "app")
	if out, err := in(t, root, "go", "build", "-o", app, "./infra").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cli, err := filepath.Abs(filepath.Join(root, "node_modules", ".bin", "cdk"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "dist", "linux-amd64"), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "dist", "linux-amd64", "bootstrap"), "program")
	write(t, filepath.Join(dir, "cdk.json"), `{"app": "`+app+`", "context": {"email": "ops@example.com"}}`)
	write(t, filepath.Join(home, ".cdk.json"), `{"context": {"owner": "me", "team": "fleet"}}`)
	run := func(args ...string) (string, error) {
		cmd := in(t, dir, append([]string{cli, "--no-color"}, args...)...)
		cmd.Env = append(cmd.Env, "HOME="+home)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := run("acknowledge", "34892"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	context, err := os.ReadFile(filepath.Join(dir, "cdk.context.json"))
	if err != nil || !strings.Contains(string(context), "acknowledged-issue-numbers") {
		t.Fatalf("the CLI has written %s, %v", context, err)
	}
	if out, err := run("synth", "--quiet", "--no-notices"); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	write(t, filepath.Join(home, ".cdk.json"), `{"context": {"owner": "me", "emial": "me@example.com"}}`)
	out, err := run("synth", "--quiet", "--no-notices")
	if want := "lastwill: error: problems with the configuration: 1\n  ~/.cdk.json: emial: is no setting: did you mean email?\n"; err == nil || !strings.Contains(out, want) {
		t.Errorf("err %v, got:\n%s\nwant %s", err, out, want)
	}
}
