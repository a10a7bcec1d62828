package main

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"

	"lastwill/constructs/device"
	"lastwill/constructs/simulator"
	"lastwill/infra/monitoring"
)

// settings are what the CDK context says of the pipeline, and its environments.
type settings struct {
	// repository is OWNER/NAME, branch the one that is deployed.
	repository, branch string
	// connection is the ARN of the CodeConnections connection to the repository.
	connection string
	// account and region are where the pipeline is.
	account, region string
	environments    []environment
	// cli is the version of the CDK CLI that package.json pins.
	cli string
	// program is the folder of the simulator. Default: where cdk.json's "build" puts it.
	program string
}

type environment struct {
	config  monitoring.Config
	devices []device.Thing
}

var (
	repositoryName = regexp.MustCompile(`^[\w.-]+/[\w.-]+$`)
	branchName     = regexp.MustCompile(`^[\w./-]+$`)
	connectionARN  = regexp.MustCompile(`^arn:[\w-]+:(codeconnections|codestar-connections):[\w-]+:\d{12}:connection/[\w-]+$`)
	exactVersion   = regexp.MustCompile(`^\d+\.\d+\.\d+$`)
	accountID      = regexp.MustCompile(`^\d{12}$`)
	regionName     = regexp.MustCompile(`^[a-z]{2}(-[a-z]+)+-\d$`)
)

// settingsFrom reads the pipeline's own keys; all others are for the environments.
// Its error names all problems at once.
func settingsFrom(context map[string]any) (settings, error) {
	s := settings{branch: "main"}
	var problems monitoring.Problems
	problem := func(origin, key, format string, args ...any) {
		problems = append(problems, monitoring.Problem{Origin: origin, Key: key, Text: fmt.Sprintf(format, args...)})
	}
	var own []string
	for _, key := range []struct {
		name    string
		into    *string
		pattern *regexp.Regexp
		fix     string
	}{
		{"repository", &s.repository, repositoryName, "give OWNER/NAME"},
		{"branch", &s.branch, branchName, "give the branch that is deployed"},
		{"connection", &s.connection, connectionARN, "give the ARN of a connection: aws codeconnections list-connections prints it"},
		{"pipelineAccount", &s.account, accountID, "give the 12 digits of the account that the pipeline is in"},
		{"pipelineRegion", &s.region, regionName, "give the region that the pipeline is in, such as eu-central-1"},
	} {
		value, ok := context[key.name]
		if ok {
			*key.into = fmt.Sprint(value)
		}
		own = append(own, key.name)
		if !key.pattern.MatchString(*key.into) {
			problem(monitoring.ContextFile(key.name, value), key.name, "%q: %s", *key.into, key.fix)
		}
	}
	configs, err := monitoring.Environments(context, own...)
	problems.Include(err)
	for _, c := range configs {
		// Keys stay with the devices; their CSRs are committed.
		devices, err := c.Devices(false)
		problems.Include(err)
		if c.Account != "" && c.Account != s.account {
			// The pipeline's check may not act in another account: there the deployment
			// proves itself.
			c.Check = true
		}
		s.environments = append(s.environments, environment{c, devices})
	}
	s.cli, err = pinnedCLI()
	problems.Include(err)
	for _, e := range s.environments {
		if e.config.Architecture == simulator.ARM {
			problem("environment "+e.config.Environment, "architecture", "%s: the pipeline builds for %s only", simulator.ARM, simulator.X86)
		}
	}
	return s, problems.Err()
}

// pinnedCLI is the version of the CDK CLI in package.json.
func pinnedCLI() (string, error) {
	content, err := os.ReadFile("package.json")
	if err != nil {
		return "", fmt.Errorf("version of the CDK CLI: %w", err)
	}
	var p struct{ DevDependencies map[string]string }
	if err := json.Unmarshal(content, &p); err != nil {
		return "", fmt.Errorf("package.json: %w", err)
	}
	version := p.DevDependencies["aws-cdk"]
	if !exactVersion.MatchString(version) {
		return "", fmt.Errorf("package.json has aws-cdk %q: pin an exact version", version)
	}
	return version, nil
}
