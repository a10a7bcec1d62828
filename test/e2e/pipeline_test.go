package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/google/go-cmp/cmp"

	"lastwill/internal/keypair"
	"lastwill/internal/will"
)

// A pipeline is what CodePipeline would do, read from the synthesized template.
type pipeline struct {
	*cloud
	assembly string
	stages   []pipelineStage
	projects map[string]string // build specs by logical id
	did      []string
}

type pipelineStage struct {
	Name    string
	Actions []struct {
		Name          string
		ActionTypeId  struct{ Category string }
		Configuration struct {
			ActionMode, StackName, TemplatePath string
			ProjectName                         struct{ Ref string }
		}
	}
}

func (c *cloud) pipeline(environments string) *pipeline {
	c.t.Helper()
	p := &pipeline{cloud: c, assembly: c.file("pipeline"), projects: map[string]string{}}
	file := c.file("environments.json")
	check(c.t, os.WriteFile(file, []byte(environments), 0o600))
	synthesizing.Lock()
	c.cdk("synth", "--quiet", "--app", "go run ./infra/pipeline", "--output", p.assembly, "-c", "certs="+c.certs,
		"-c", "environments="+file, "-c", "repository=example/lastwill",
		"-c", "connection=arn:aws:codeconnections:"+c.status.Region+":"+c.status.Account+":connection/0a1b2c3d-0000-0000-0000-000000000000",
		"-c", "pipelineAccount="+c.status.Account, "-c", "pipelineRegion="+c.status.Region)
	synthesizing.Unlock()
	content, err := os.ReadFile(filepath.Join(p.assembly, "LastwillPipeline.template.json"))
	check(c.t, err)
	var template struct {
		Resources map[string]struct {
			Type       string
			Properties json.RawMessage
		}
	}
	check(c.t, json.Unmarshal(content, &template))
	for id, r := range template.Resources {
		switch r.Type {
		case "AWS::CodePipeline::Pipeline":
			var properties struct{ Stages []pipelineStage }
			check(c.t, json.Unmarshal(r.Properties, &properties))
			p.stages = properties.Stages
		case "AWS::CodeBuild::Project":
			var properties struct{ Source struct{ BuildSpec string } }
			if json.Unmarshal(r.Properties, &properties) == nil { // some specs have tokens
				p.projects[id] = properties.Source.BuildSpec
			}
		}
	}
	return p
}

// run runs the stages of environments until one fails, with between after each deployment.
func (p *pipeline) run(between func(stack string)) error {
	for _, stage := range p.stages {
		for _, a := range stage.Actions {
			c := a.Configuration
			switch {
			case a.ActionTypeId.Category == "Approval":
				p.did = append(p.did, "approve "+stage.Name)
			case c.ActionMode == "CHANGE_SET_EXECUTE":
				p.deploy(stage.Name)
				p.did = append(p.did, "deploy "+c.StackName)
				between(c.StackName)
			case strings.HasPrefix(a.Name, "Check-"):
				p.did = append(p.did, "check "+stage.Name)
				if err := p.build(p.projects[c.ProjectName.Ref]); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// deploy deploys a stage from its part of the cloud assembly.
func (p *pipeline) deploy(stage string) {
	p.t.Helper()
	p.cdk("deploy", "--app", filepath.Join(p.assembly, "assembly-LastwillPipeline-"+stage), "--all", "--require-approval", "never")
}

// build runs the commands of a CodeBuild project, where the tools are.
func (p *pipeline) build(spec string) error {
	p.t.Helper()
	var parsed struct {
		Phases map[string]struct{ Commands []string }
	}
	check(p.t, json.Unmarshal([]byte(spec), &parsed))
	dir := p.t.TempDir()
	lwt, err := os.ReadFile(program("lwt"))
	check(p.t, err)
	check(p.t, os.WriteFile(filepath.Join(dir, "lwt"), lwt, 0o600)) // an artefact loses its mode
	if len(parsed.Phases["build"].Commands) == 0 {
		p.t.Fatalf("the project has no commands: %s", spec)
	}
	cmd := exec.CommandContext(p.t.Context(), "sh", "-e", "-c", strings.Join(parsed.Phases["build"].Commands, "\n"))
	cmd.Dir = dir
	cmd.Env = append(p.cdkCommand(p.t.Context()).Env, "LWT_ROOT_CA="+p.file("ca.pem"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		return &failedBuild{string(out)}
	}
	return nil
}

type failedBuild struct{ output string }

func (f *failedBuild) Error() string { return f.output }

// The pipeline's own assembly is deployed stage by stage. A stage whose check fails
// ends it: what follows is not touched.
func TestThePipelineDeploysChecksAndStops(t *testing.T) {
	t.Parallel()
	c := startCloud(t, filepath.Join(t.TempDir(), "data"))
	for _, name := range []string{"dev", "staging", "production"} {
		_, err := keypair.Ensure(c.certs, will.NewNames(name).Thing(will.ThingName), true)
		check(t, err)
	}
	p := c.pipeline(`{
		"dev":        {"email": "dev@example.com"},
		"staging":    {"email": "dev@example.com", "approval": true},
		"production": {"email": "ops@example.com", "approval": true}
	}`)
	c.cdk("bootstrap", "--app", p.assembly, "aws://"+c.status.Account+"/"+c.status.Region)
	err := p.run(func(stack string) {
		if stack != "Lastwill-staging" {
			return
		}
		// Somebody disables the rule, which the deployment cannot see.
		_, outputs := c.stack(stack)
		_, err := iot.NewFromConfig(c.config()).DisableTopicRule(t.Context(), &iot.DisableTopicRuleInput{RuleName: aws.String(outputs["RuleName"])})
		check(t, err)
	})
	if err == nil || !strings.Contains(err.Error(), "lastWillRule_staging is disabled") {
		t.Errorf("the pipeline ended with %v", err)
	}
	want := []string{"deploy Lastwill-dev", "check dev", "approve staging", "deploy Lastwill-staging", "check staging"}
	if diff := cmp.Diff(want, p.did); diff != "" {
		t.Errorf("the pipeline did (-want +got):\n%s", diff)
	}
	_, err = cloudformation.NewFromConfig(c.config()).DescribeStacks(t.Context(), &cloudformation.DescribeStacksInput{StackName: aws.String("Lastwill-production")})
	if err == nil || !strings.Contains(err.Error(), "does not exist") {
		t.Errorf("production was deployed: %v", err)
	}
}
