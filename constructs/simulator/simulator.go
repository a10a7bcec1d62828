// Package simulator ships the device simulator with a stack, as an asset that
// any machine of the environment can fetch and run.
package simulator

import (
	"fmt"
	"os"

	"github.com/aws/aws-cdk-go/awscdk/v2/awss3assets"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"
)

// DefaultProgram is where cdk.json's "build" command puts the simulator.
const DefaultProgram = "dist/simulator.linux-amd64"

// Props configure the asset.
type Props struct {
	// Program is the path of the simulator program.
	// Default: DefaultProgram, relative to the working directory.
	Program string
}

// New adds the program to a scope as an asset. It panics with the error of
// Props.Validate.
func New(scope constructs.Construct, id string, props Props) awss3assets.Asset {
	if err := props.Validate(); err != nil {
		panic(err)
	}
	return awss3assets.NewAsset(scope, jsii.String(id), &awss3assets.AssetProps{Path: jsii.String(props.program())})
}

func (p Props) program() string {
	if p.Program == "" {
		return DefaultProgram
	}
	return p.Program
}

// Validate returns an error that says how to build the program if it is missing.
func (p Props) Validate() error {
	if info, err := os.Stat(p.program()); err != nil || !info.Mode().IsRegular() {
		return fmt.Errorf("simulator program %s is missing: start the app with the CDK CLI (npx cdk synth), which builds it as cdk.json's \"build\" says", p.program())
	}
	return nil
}
