package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

type workflow struct {
	Permissions map[string]string
	Jobs        map[string]struct {
		Needs       string
		Permissions map[string]string
		Steps       []struct{ Name, Uses, Run string }
	}
}

func readWorkflow(t *testing.T) (workflow, string) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, ".github", "workflows", "environments.yml"))
	check(t, err)
	var w workflow
	check(t, yaml.Unmarshal(content, &w))
	return w, string(content)
}

// step returns the command of a job's step.
func (w workflow) step(t *testing.T, job, name string) string {
	t.Helper()
	for _, s := range w.Jobs[job].Steps {
		if s.Name == name {
			return s.Run
		}
	}
	t.Fatalf("job %s has no step %s", job, name)
	return ""
}

// Who takes over an action's tag must not get our credentials.
func TestTheWorkflowPinsActionsAndAsksForLittle(t *testing.T) {
	t.Parallel()
	w, text := readWorkflow(t)
	pinned := regexp.MustCompile(`(?m)uses: [\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$`)
	if uses := strings.Count(text, "uses: "); uses == 0 || len(pinned.FindAllString(text, -1)) != uses {
		t.Errorf("%d of %d actions are pinned by commit, with the version beside it", len(pinned.FindAllString(text, -1)), uses)
	}
	if len(w.Permissions) != 0 {
		t.Errorf("all jobs have %v", w.Permissions)
	}
	for name, job := range w.Jobs {
		for what, access := range job.Permissions {
			if access != "read" && what != "id-token" {
				t.Errorf("job %s has %s: %s", name, what, access)
			}
		}
	}
	if strings.Contains(text, "secrets.") {
		t.Error("the workflow needs a secret")
	}
}

func TestTheWorkflowDeploysNothingUntested(t *testing.T) {
	t.Parallel()
	w, _ := readWorkflow(t)
	tests := w.Jobs["test"].Steps
	if len(tests) == 0 || tests[len(tests)-1].Run != "make test" {
		t.Errorf("job test does not end with make test: %+v", tests)
	}
	for name, job := range w.Jobs {
		for _, step := range job.Steps {
			if strings.Contains(step.Run, "cdk deploy") && job.Needs != "test" {
				t.Errorf("job %s deploys and needs %q, not test", name, job.Needs)
			}
		}
	}
}

// The commands of the workflow, in its order, make, prove and remove an environment.
func TestTheWorkflowDeploysChecksAndDestroys(t *testing.T) {
	t.Parallel()
	w, _ := readWorkflow(t)
	c := startCloud(t, filepath.Join(t.TempDir(), "data"))
	const environment = "pr-4711"
	t.Cleanup(func() { // the workflow's machine is thrown away
		for _, extension := range []string{".key", ".csr"} {
			_ = os.Remove(filepath.Join(root, "certs", "lwtThing-"+environment+extension))
		}
	})
	run := func(command string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "bash", "-e", "-c", command)
		cmd.Dir = root
		cmd.Env = append(c.cdkCommand(t.Context()).Env, "ENVIRONMENT="+environment, "EMAIL=ops@example.com", "LWT_ROOT_CA="+c.file("ca.pem"))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", command, err, out)
		}
	}
	synthesizing.Lock()
	defer synthesizing.Unlock()
	run("npx cdk bootstrap -c email=\"$EMAIL\" -c environment=\"$ENVIRONMENT\"")
	run(w.step(t, "deploy", "Deploy"))
	run(w.step(t, "deploy", "Check"))
	if status, _ := c.stack("Lastwill-" + environment); status != "CREATE_COMPLETE" {
		t.Errorf("stack is %s", status)
	}
	c.confirm("ops@example.com")
	run(w.step(t, "destroy", "Destroy"))
	run(w.step(t, "destroy", "Leftovers"))
	c.nothingLeft("Lastwill-" + environment)
}

// The artefact is what a comment takes: a summary, and the difference folded away.
func TestTheWorkflowShowsWhatChangesInTheTemplates(t *testing.T) {
	t.Parallel()
	w, _ := readWorkflow(t)
	dir := t.TempDir()
	run := func(command string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "bash", "-e", "-c", command)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "BASE=base", "GITHUB_STEP_SUMMARY="+filepath.Join(dir, "summary"),
			"GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", command, err, out)
		}
	}
	step := w.step(t, "diff", "Compare the golden templates")
	run("git init -q; echo '{}' > x.template.json; echo a > other; git add .; git commit -qm base; git tag base; echo b > other; git commit -qam next")
	run(step)
	if summary, err := os.ReadFile(filepath.Join(dir, "summary")); err != nil || string(summary) != "No template changes.\n" {
		t.Errorf("without a change the summary is %q, %v", summary, err)
	}
	run(`rm summary; echo '{"Resources": 1}' > x.template.json; git commit -qam change`)
	run(step)
	comment, err := os.ReadFile(filepath.Join(dir, "templates.md"))
	check(t, err)
	for _, want := range []string{"### This changes what is deployed", "x.template.json | 2 +-", "-{}\n+{\"Resources\": 1}\n", "</details>"} {
		if !strings.Contains(string(comment), want) {
			t.Errorf("%q is not in the comment:\n%s", want, comment)
		}
	}
}
