package main

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscodebuild"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscodepipeline"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/pipelines"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"

	"lastwill/constructs/check"
	"lastwill/constructs/policy"
	"lastwill/infra/monitoring"
)

// stackName is also the pipeline's.
const stackName = "LastwillPipeline"

// What the build machines have: Node by CodeBuild's image, Go by its own download
// of exactly this version, whatever the image has.
const (
	nodeVersion = "22"
	goVersion   = "1.26.8"
	// assetsVersion is that of cdk-assets, which publishes the assets.
	assetsVersion = "4.7.3"
)

// toolsFolder has the commands that later steps run, built with the synthesis.
const toolsFolder = "dist/tools"

// newStack adds the pipeline's stack to an app.
func newStack(scope constructs.Construct, s settings) awscdk.Stack {
	stack := awscdk.NewStack(scope, jsii.String(stackName), &awscdk.StackProps{
		Env: &awscdk.Environment{Account: &s.account, Region: &s.region},
	})
	synth := newSynth(s)
	tools := synth.AddOutputDirectory(jsii.String(toolsFolder))
	pipeline := pipelines.NewCodePipeline(stack, jsii.String("Pipeline"), &pipelines.CodePipelineProps{
		PipelineName: jsii.String(stackName),
		PipelineType: awscodepipeline.PipelineType_V2,
		CliVersion:   &s.cli,
		// Without it the pipeline installs whatever is the latest.
		CdkAssetsCliVersion: jsii.String(assetsVersion),
		CrossAccountKeys:    jsii.Bool(s.crossesAccounts()),
		Synth:               synth,
		// Every step of CodeBuild has the role that it needs and no more.
		CodeBuildDefaults: &pipelines.CodeBuildOptions{
			BuildEnvironment: &awscodebuild.BuildEnvironment{BuildImage: awscodebuild.LinuxBuildImage_FromCodeBuildImageId(jsii.String("aws/codebuild/standard:8.0"))},
		},
	})
	for _, e := range s.environments {
		addEnvironment(stack, pipeline, tools, e, s)
	}
	pipeline.BuildPipeline()
	rollBackOnFailure(pipeline.Pipeline(), s)
	allowConnection(pipeline.Pipeline(), s)
	return stack
}

// newSynth synthesizes the pipeline with its environments, and builds the check's
// command. Modules and what was compiled are kept between runs.
func newSynth(s settings) pipelines.CodeBuildStep {
	return pipelines.NewCodeBuildStep(jsii.String("Synth"), &pipelines.CodeBuildStepProps{
		Input: pipelines.CodePipelineSource_Connection(&s.repository, &s.branch, &pipelines.ConnectionSourceOptions{
			ConnectionArn: &s.connection,
		}),
		InstallCommands: jsii.Strings("npm ci --no-audit --no-fund"),
		Commands: jsii.Strings(
			"CGO_ENABLED=0 go build -o "+toolsFolder+"/lwt ./cmd/lwt",
			"npx cdk synth --quiet "+s.app(),
		),
		Env: &map[string]*string{
			"GOTOOLCHAIN": jsii.String("go" + goVersion),
			"JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION": jsii.String("20"),
			"CDK_DISABLE_CLI_TELEMETRY":                     jsii.String("1"),
		},
		BuildEnvironment: &awscodebuild.BuildEnvironment{ComputeType: awscodebuild.ComputeType_MEDIUM},
		Cache:            awscodebuild.Cache_Local(awscodebuild.LocalCacheMode_CUSTOM),
		PartialBuildSpec: awscodebuild.BuildSpec_FromObject(&map[string]any{
			"version": "0.2",
			"phases": map[string]any{"install": map[string]any{"runtime-versions": map[string]any{
				"nodejs": nodeVersion, "golang": "latest", // any Go fetches the one that GOTOOLCHAIN names
			}}},
			"cache": map[string]any{"paths": []string{"/root/.cache/go-build/**/*", "/go/pkg/mod/**/*", "/root/.npm/**/*"}},
		}),
	})
}

// app is how the CDK CLI is told of this app with its settings.
func (s settings) app() string {
	return `--app "go run ./infra/pipeline" ` + strings.Join([]string{
		"-c repository=" + s.repository, "-c branch=" + s.branch, "-c connection=" + s.connection,
		"-c pipelineAccount=" + s.account, "-c pipelineRegion=" + s.region,
	}, " ")
}

// place is where an environment is deployed: account and region.
func (s settings) place(c monitoring.Config) (account, region string) {
	return cmp.Or(c.Account, s.account), cmp.Or(c.Region, s.region)
}

func (s settings) crossesAccounts() bool {
	for _, e := range s.environments {
		if account, _ := s.place(e.config); account != s.account {
			return true
		}
	}
	return false
}

// commands are those that set the pipeline up and remove it. They depend on the
// settings: every account and region is bootstrapped once, other accounts trust that of
// the pipeline (CDK developer guide, "Continuous integration and delivery using CDK
// Pipelines"), and environments in other regions bring stacks of their own for the
// artefacts, which is why deploy and destroy name none.
func (s settings) commands() []string {
	home := "aws://" + s.account + "/" + s.region
	commands := []string{"npx cdk bootstrap " + home + " " + s.app()}
	seen := map[string]bool{home: true}
	for _, e := range s.environments {
		account, region := s.place(e.config)
		place := "aws://" + account + "/" + region
		if seen[place] {
			continue
		}
		seen[place] = true
		command := "npx cdk bootstrap " + place
		if account != s.account {
			command += " --trust " + s.account + " --cloudformation-execution-policies arn:aws:iam::aws:policy/AdministratorAccess"
		}
		commands = append(commands, command+" "+s.app())
	}
	return append(commands, "npx cdk deploy --all "+s.app(), "npx cdk destroy --all "+s.app())
}

// allowConnection lets the source action use a connection by the name that its ARN
// has: the CDK grants codestar-connections:UseConnection alone, and the permission's
// prefix must be that of the ARN (developer tools console user guide, "Connections
// are changing").
func allowConnection(pipeline awscodepipeline.Pipeline, s settings) {
	service := strings.Split(s.connection, ":")[2]
	for _, found := range *pipeline.Node().FindChild(jsii.String("Source")).Node().FindAll("") {
		if role, ok := found.(awsiam.Role); ok {
			role.AddToPrincipalPolicy(awsiam.NewPolicyStatement(&awsiam.PolicyStatementProps{
				Actions: jsii.Strings(service + ":UseConnection"), Resources: jsii.Strings(s.connection),
			}))
		}
	}
}

// addEnvironment adds a stage with the environment's stack, before it a person's
// approval where the environment asks for one, and after it the check.
func addEnvironment(stack awscdk.Stack, pipeline pipelines.CodePipeline, tools pipelines.FileSet, e environment, s settings) {
	c := e.config
	account, region := s.place(c)
	env := &awscdk.Environment{Account: &account, Region: &region}
	stage := awscdk.NewStage(stack, &c.Environment, &awscdk.StageProps{Env: env})
	name := c.Names().Stack
	monitoring.NewStack(stage, monitoring.StackProps{
		StackProps: awscdk.StackProps{Env: env, StackName: &name},
		Config:     c, Devices: e.devices, Simulator: s.program,
	})
	options := &pipelines.AddStageOpts{}
	if c.Approval {
		options.Pre = &[]pipelines.Step{pipelines.NewManualApprovalStep(jsii.String("Approve-"+c.Environment), &pipelines.ManualApprovalStepProps{
			Comment: jsii.String("Deploy to " + c.Environment),
		})}
	}
	if account == s.account {
		options.Post = &[]pipelines.Step{newCheck(stack, tools, c, region)}
	}
	pipeline.AddStage(stage, options)
}

// newCheck is a step that proves an environment's stack, or fails and so stops the
// pipeline.
func newCheck(stack awscdk.Stack, tools pipelines.FileSet, c monitoring.Config, region string) pipelines.CodeBuildStep {
	names := c.Names()
	var statements []awsiam.PolicyStatement
	arn := func(service, resource string) string { return policy.PrefixIn(stack, service, &region) + resource }
	for _, p := range check.Permissions(check.Scope{
		ARN: arn, Thing: names.Thing(c.Things[0]), RuleName: names.Rule,
		WillTopic: names.WillTopic, ExecutedTopic: names.ExecutedTopic,
		Stack: arn("cloudformation", "stack/"+names.Stack+"/*"), SNSTopic: arn("sns", names.SNSTopic),
		// CloudFormation names the log group: stack, logical id and a random part.
		ErrorLog: arn("logs", "log-group:"+names.Stack+"-Alert*"),
	}) {
		statements = append(statements, awsiam.NewPolicyStatement(&awsiam.PolicyStatementProps{
			Actions: jsii.Strings(p.Actions...), Resources: jsii.Strings(p.Resources...),
		}))
	}
	return pipelines.NewCodeBuildStep(jsii.String("Check-"+c.Environment), &pipelines.CodeBuildStepProps{
		Input:                tools,
		Env:                  &map[string]*string{"AWS_REGION": &region},
		Commands:             jsii.Strings("chmod +x lwt", fmt.Sprintf("./lwt check -stack %s", names.Stack)),
		RolePolicyStatements: &statements,
		Timeout:              awscdk.Duration_Minutes(jsii.Number(15)),
	})
}

// rollBackOnFailure has a stage that fails, be it in its check, go back to what it
// was (CodePipeline user guide, "Configuring stage rollback"). The CDK knows no
// property for it.
func rollBackOnFailure(pipeline awscodepipeline.Pipeline, s settings) {
	resource := pipeline.Node().DefaultChild().(awscodepipeline.CfnPipeline)
	for i, stage := range *pipeline.Stages() {
		for _, e := range s.environments {
			if *stage.StageName() == e.config.Environment {
				resource.AddPropertyOverride(jsii.String(fmt.Sprintf("Stages.%d.OnFailure.Result", i)), "ROLLBACK")
			}
		}
	}
}
