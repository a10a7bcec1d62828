package localaws

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"lastwill/internal/localaws/awsapi"
	"lastwill/internal/localaws/cloudformation"
)

// manifest is the part of a cloud assembly's manifest.json that a deployment
// needs (@aws-cdk/cloud-assembly-schema, AssemblyManifest).
type manifest struct {
	Artifacts map[string]struct {
		Type         string
		Dependencies []string
		Properties   struct {
			// Of a stack.
			TemplateFile                      string
			StackName                         string
			Parameters                        map[string]string
			Tags                              map[string]string
			RequiresBootstrapStackVersion     int
			BootstrapStackVersionSSMParameter string `json:"bootstrapStackVersionSsmParameter"`
			// Of an asset manifest.
			File string
		}
	}
}

const (
	stackArtifact  = "aws:cloudformation:stack"
	assetsArtifact = "cdk:asset-manifest"
)

// DeployAssembly deploys the stacks of a synthesized CDK app (cdk.out), each
// after the stacks it depends on. It stands for bootstrapped account: the
// version parameter that the stacks ask for is there, and so are the assets once
// their files are found.
func (s *Server) DeployAssembly(ctx context.Context, dir string) ([]*cloudformation.Stack, error) {
	m, err := readManifest(dir)
	if err != nil {
		return nil, err
	}
	order, err := m.stacks()
	if err != nil {
		return nil, err
	}
	if err := m.checkAssets(dir); err != nil {
		return nil, err
	}
	var stacks []*cloudformation.Stack
	for _, id := range order {
		p := m.Artifacts[id].Properties
		body, err := os.ReadFile(filepath.Join(dir, p.TemplateFile))
		if err != nil {
			return stacks, fmt.Errorf("cloud assembly %s: %w", dir, err)
		}
		if name := p.BootstrapStackVersionSSMParameter; name != "" {
			s.SSM.Put(name, strconv.Itoa(p.RequiresBootstrapStackVersion))
		}
		name := p.StackName
		if name == "" {
			name = id
		}
		stackID, err := s.CloudFormation.Create(cloudformation.Input{
			Name: name, TemplateBody: body, Parameters: deployTime(p.Parameters), Tags: awsapi.Tags(p.Tags),
		})
		if err != nil {
			return stacks, err
		}
		stack, err := s.CloudFormation.Await(ctx, stackID)
		if err != nil {
			return stacks, err
		}
		stacks = append(stacks, stack)
	}
	return stacks, nil
}

func readManifest(dir string) (manifest, error) {
	var m manifest
	b, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return m, fmt.Errorf("%s is no cloud assembly: it has no manifest.json; cdk synth makes one", dir)
	}
	if err != nil {
		return m, fmt.Errorf("cloud assembly %s: %w", dir, err)
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return m, fmt.Errorf("cloud assembly %s: manifest.json: %w", dir, err)
	}
	return m, nil
}

// stacks returns the ids of the stack artifacts, dependencies first.
func (m manifest) stacks() ([]string, error) {
	var order []string
	seen := map[string]bool{}
	var visit func(id string) error
	visit = func(id string) error {
		artifact, ok := m.Artifacts[id]
		if !ok {
			return fmt.Errorf("cloud assembly has no artifact %q, which another depends on", id)
		}
		if seen[id] {
			return nil
		}
		seen[id] = true
		for _, dependency := range artifact.Dependencies {
			if err := visit(dependency); err != nil {
				return err
			}
		}
		if artifact.Type == stackArtifact {
			order = append(order, id)
		}
		return nil
	}
	for _, id := range slices.Sorted(maps.Keys(m.Artifacts)) {
		if err := visit(id); err != nil {
			return nil, err
		}
	}
	if len(order) == 0 {
		return nil, errors.New("cloud assembly has no stack")
	}
	return order, nil
}

// checkAssets makes sure that every file asset is where its manifest says.
func (m manifest) checkAssets(dir string) error {
	for _, id := range slices.Sorted(maps.Keys(m.Artifacts)) {
		artifact := m.Artifacts[id]
		if artifact.Type != assetsArtifact {
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, artifact.Properties.File))
		if err != nil {
			return fmt.Errorf("cloud assembly %s: %w", dir, err)
		}
		var assets struct {
			Files map[string]struct{ Source struct{ Path string } }
		}
		if err := json.Unmarshal(b, &assets); err != nil {
			return fmt.Errorf("cloud assembly %s: %s: %w", dir, artifact.Properties.File, err)
		}
		for hash, file := range assets.Files {
			if _, err := os.Stat(filepath.Join(dir, file.Source.Path)); err != nil {
				return fmt.Errorf("cloud assembly %s: asset %s: %w", dir, hash, err)
			}
		}
	}
	return nil
}

// deployTime drops the parameters that the CDK leaves to the deployment.
func deployTime(parameters map[string]string) map[string]string {
	out := map[string]string{}
	for name, value := range parameters {
		if value != "" {
			out[name] = value
		}
	}
	return out
}
