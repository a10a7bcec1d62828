// Package simulator ships the device simulator with a stack: as an asset that any
// machine of the environment can fetch and run.
package simulator

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/aws/aws-cdk-go/awscdk/v2/awss3assets"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"
)

// An Architecture is a processor that the program can be built for, in AWS
// Lambda's words.
type Architecture string

// Architectures of AWS Lambda.
const (
	X86 Architecture = "x86_64"
	ARM Architecture = "arm64"
)

// Local is the architecture of this machine.
func Local() Architecture {
	if runtime.GOARCH == ARM.GOARCH() {
		return ARM
	}
	return X86
}

// GOARCH is the same in Go's words.
func (a Architecture) GOARCH() string {
	if a == ARM {
		return "arm64"
	}
	return "amd64"
}

// Validate refuses what AWS Lambda does not have.
func (a Architecture) Validate() error {
	if a != "" && a != X86 && a != ARM {
		return fmt.Errorf("architecture %q: use %s or %s", a, X86, ARM)
	}
	return nil
}

// Folder is where cdk.json's "build" command puts the program.
func (a Architecture) Folder() string { return "dist/linux-" + a.GOARCH() }

// Program is the file's name in the folder: what AWS Lambda starts (developer
// guide, "Building a custom runtime").
const Program = "bootstrap"

// Props configure the asset.
type Props struct {
	// Folder has the simulator program, and nothing else.
	// Default: Folder of the architecture X86, relative to the working directory.
	Folder string
}

// New adds the program to a scope as an asset: a zip with the program in it. It
// panics with the error of Props.Validate.
func New(scope constructs.Construct, id string, props Props) awss3assets.Asset {
	if err := props.Validate(); err != nil {
		panic(err)
	}
	return awss3assets.NewAsset(scope, jsii.String(id), &awss3assets.AssetProps{Path: jsii.String(props.folder())})
}

func (p Props) folder() string {
	if p.Folder == "" {
		return X86.Folder()
	}
	return p.Folder
}

// Validate returns an error that says how to build the program if it is missing.
func (p Props) Validate() error {
	file := filepath.Join(p.folder(), Program)
	if info, err := os.Stat(file); err != nil || !info.Mode().IsRegular() {
		return fmt.Errorf("simulator program %s is missing: start the app with the CDK CLI (npx cdk synth), which builds it as cdk.json's \"build\" says", file)
	}
	return nil
}
