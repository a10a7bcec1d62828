package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/google/go-cmp/cmp"

	"lastwill/test/cdktest"
)

var update = flag.Bool("update", false, "write the golden template instead of comparing with it")

func TestMain(m *testing.M) { cdktest.Main(m) }

const testdata = "infra/pipeline/testdata"

func contextOf(more map[string]any) map[string]any {
	c := map[string]any{
		"repository": "example/lastwill", "pipelineAccount": "123456789012", "pipelineRegion": "eu-central-1",
		"connection":   "arn:aws:codeconnections:eu-central-1:123456789012:connection/0a1b2c3d-0000-0000-0000-000000000000",
		"environments": testdata + "/environments.json", "certs": testdata + "/certs",
	}
	for key, value := range more {
		c[key] = value
	}
	return c
}

func TestTheTemplateIsAsReviewed(t *testing.T) {
	t.Chdir("../..")
	s, err := settingsFrom(contextOf(nil))
	if err != nil {
		t.Fatal(err)
	}
	s.program = "infra/monitoring/testdata/simulator"
	got := cdktest.Template(t, func(app awscdk.App) awscdk.Stack { return newStack(app, s) })
	cdktest.Golden(t, got, filepath.Join(testdata, "pipeline.template.json"), *update)
	for _, word := range []string{"SecretString", "PRIVATE KEY", "secretsmanager"} {
		if strings.Contains(string(got), word) {
			t.Errorf("%q is in the template", word)
		}
	}
}

type stage struct {
	Name      string
	OnFailure struct{ Result string }
	Actions   []struct {
		Name         string
		RunOrder     int
		ActionTypeId struct{ Category, Provider string }
	}
}

// stages are what CodePipeline does, in its order.
func stages(t *testing.T) []stage {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("testdata", "pipeline.template.json"))
	if err != nil {
		t.Fatal(err)
	}
	var tpl struct {
		Resources map[string]struct {
			Type       string
			Properties struct{ Stages []stage }
		}
	}
	if err := json.Unmarshal(content, &tpl); err != nil {
		t.Fatal(err)
	}
	for _, r := range tpl.Resources {
		if r.Type == "AWS::CodePipeline::Pipeline" {
			return r.Properties.Stages
		}
	}
	t.Fatal("no pipeline in the template")
	return nil
}

// Environments come in the order of the file, families not at all; each is checked
// after it was deployed, goes back when it fails, and waits for a person where it
// says so.
func TestEnvironmentsAreStagesInOrder(t *testing.T) {
	var names []string
	for _, s := range stages(t) {
		names = append(names, s.Name)
		var did []string
		last := 0
		for _, a := range s.Actions {
			if a.RunOrder < last {
				t.Errorf("%s: %s is listed after what follows it", s.Name, a.Name)
			}
			last = a.RunOrder
			did = append(did, a.ActionTypeId.Category+" "+a.Name)
		}
		environment := s.Name == "dev" || s.Name == "staging" || s.Name == "production"
		if !environment {
			continue
		}
		want := []string{"Deploy Lastwill-" + s.Name + ".Prepare", "Deploy Lastwill-" + s.Name + ".Deploy", "Build Check-" + s.Name}
		if s.Name == "production" {
			want = append([]string{"Approval Approve-production"}, want...)
		}
		if diff := cmp.Diff(want, did); diff != "" {
			t.Errorf("%s (-want +got):\n%s", s.Name, diff)
		}
		if s.OnFailure.Result != "ROLLBACK" {
			t.Errorf("%s does not roll back: %+v", s.Name, s.OnFailure)
		}
	}
	want := []string{"Source", "Build", "UpdatePipeline", "Assets", "dev", "staging", "production"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("stages (-want +got):\n%s", diff)
	}
}

// The pipeline may not act in another account; there the deployment proves itself.
func TestAnEnvironmentInAnotherAccountProvesItself(t *testing.T) {
	t.Chdir("../..")
	file := filepath.Join(t.TempDir(), "environments.json")
	content := `{"staging": {"email": "dev@example.com", "account": "210987654321", "region": "us-east-1"}}`
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := settingsFrom(contextOf(map[string]any{"environments": file}))
	if err != nil {
		t.Fatal(err)
	}
	if !s.environments[0].config.Check {
		t.Error("the environment has no check of its own")
	}
	s.program = "infra/monitoring/testdata/simulator"
	template := string(cdktest.Template(t, func(app awscdk.App) awscdk.Stack { return newStack(app, s) }))
	if strings.Contains(template, "lwt check") {
		t.Error("the pipeline checks it")
	}
	if !strings.Contains(template, "AWS::KMS::Key") {
		t.Error("the artefacts cannot be read from another account: they need a key")
	}
}

// The prefix of the permission must be that of the connection's ARN.
func TestTheSourceMayUseItsConnection(t *testing.T) {
	t.Chdir("../..")
	for _, service := range []string{"codeconnections", "codestar-connections"} {
		connection := "arn:aws:" + service + ":eu-central-1:123456789012:connection/0a1b2c3d-0000-0000-0000-000000000000"
		s, err := settingsFrom(contextOf(map[string]any{"connection": connection}))
		if err != nil {
			t.Fatal(err)
		}
		s.program = "infra/monitoring/testdata/simulator"
		var template struct {
			Resources map[string]struct {
				Type       string
				Properties struct {
					PolicyDocument struct {
						Statement []struct{ Effect, Action, Resource any }
					}
				}
			}
		}
		if err := json.Unmarshal(cdktest.Template(t, func(app awscdk.App) awscdk.Stack { return newStack(app, s) }), &template); err != nil {
			t.Fatal(err)
		}
		allowed := 0
		for id, r := range template.Resources {
			for _, statement := range r.Properties.PolicyDocument.Statement {
				if r.Type == "AWS::IAM::Policy" && strings.Contains(id, "PipelineSource") &&
					statement.Effect == "Allow" && statement.Action == service+":UseConnection" && statement.Resource == connection {
					allowed++
				}
			}
		}
		if allowed != 1 {
			t.Errorf("%s: %d statements allow %s:UseConnection on the connection, want 1", service, allowed, service)
		}
	}
}

func TestTheCommandsFitTheSettings(t *testing.T) {
	t.Chdir("../..")
	file := filepath.Join(t.TempDir(), "environments.json")
	content := `{"dev": {"email": "dev@example.com"}, "staging": {"email": "dev@example.com", "region": "us-east-1"},
		"production": {"email": "dev@example.com", "account": "210987654321", "region": "us-east-1"}}`
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := settingsFrom(contextOf(map[string]any{"environments": file, "branch": "release"}))
	if err != nil {
		t.Fatal(err)
	}
	const app = ` --app "go run ./infra/pipeline" -c repository=example/lastwill -c branch=release` +
		" -c connection=arn:aws:codeconnections:eu-central-1:123456789012:connection/0a1b2c3d-0000-0000-0000-000000000000" +
		" -c pipelineAccount=123456789012 -c pipelineRegion=eu-central-1"
	want := []string{
		"npx cdk bootstrap aws://123456789012/eu-central-1" + app,
		"npx cdk bootstrap aws://123456789012/us-east-1" + app,
		"npx cdk bootstrap aws://210987654321/us-east-1 --trust 123456789012 --cloudformation-execution-policies arn:aws:iam::aws:policy/AdministratorAccess" + app,
		"npx cdk deploy --all" + app,
		"npx cdk destroy --all" + app,
	}
	if diff := cmp.Diff(want, s.commands()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// One block, in which each problem has its environment and, for a missing CSR, the
// command that makes it.
func TestProblemsOfThePipelineComeAtOnce(t *testing.T) {
	t.Chdir("../..")
	certs := t.TempDir()
	_, err := settingsFrom(map[string]any{
		"repository": "lastwill", "connection": "arn", "pipelineRegion": "here", "environments": testdata + "/environments.json",
		"certs": certs, "wilTopic": "x", "brnach": "release", "vpc": "x", "architecture": "arm64",
	})
	missing := func(environment string) string {
		return fmt.Sprintf("\n  environment %[2]s: certs: %[1]s/lwtThing-%[2]s.csr is missing: on a workstation, with all settings of this run, "+
			"npx cdk synth --quiet -c environment=%[2]s makes it and %[1]s/lwtThing-%[2]s.key; then git add -f %[1]s/lwtThing-%[2]s.csr and commit it", certs, environment)
	}
	want := `problems with the configuration: 12
  repository: "lastwill": give OWNER/NAME
  connection: "arn": give the ARN of a connection: aws codeconnections list-connections prints it
  pipelineAccount: "": give the 12 digits of the account that the pipeline is in
  pipelineRegion: "here": give the region that the pipeline is in, such as eu-central-1
  brnach: is no setting: did you mean branch?
  wilTopic: is no setting: did you mean willTopic?` +
		missing("dev") + missing("staging") + missing("production") + `
  environment dev: architecture: arm64: the pipeline builds for x86_64 only
  environment staging: architecture: arm64: the pipeline builds for x86_64 only
  environment production: architecture: arm64: the pipeline builds for x86_64 only`
	if diff := cmp.Diff(want, fmt.Sprint(err)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAnUnpinnedCLIIsRefused(t *testing.T) {
	for content, want := range map[string]string{
		`{"devDependencies": {"aws-cdk": "^2.1148.1"}}`: `package.json has aws-cdk "^2.1148.1": pin an exact version`,
		`{"devDependencies": {"aws-cdk": "latest"}}`:    `package.json has aws-cdk "latest": pin an exact version`,
		`{"devDependencies": {"aws-cdk": "2.x"}}`:       `package.json has aws-cdk "2.x": pin an exact version`,
		`{"devDependencies": {"aws-cdk": ">=2"}}`:       `package.json has aws-cdk ">=2": pin an exact version`,
		`{}`: `package.json has aws-cdk "": pin an exact version`,
		``:   "version of the CDK CLI: open package.json: no such file or directory",
		`{`:  "package.json: unexpected end of JSON input",
	} {
		t.Chdir(t.TempDir())
		if content != "" {
			if err := os.WriteFile("package.json", []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := settingsFrom(contextOf(nil)); !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%s: err = %v, want %q in it", content, err, want)
		}
	}
}
