// Package localtest deploys the scenario to a local endpoint, for tests of what
// reads a deployed stack.
package localtest

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"lastwill/internal/keypair"
	"lastwill/internal/localaws"
	"lastwill/internal/localaws/cloudformation"
	"lastwill/internal/will"
)

// Stack is the name of the stack that Deploy deploys.
const Stack = "Lastwill"

// patience is how long the endpoint may take. It only matters to tests that fail.
const patience = 2 * time.Minute

// Deploy starts an endpoint that ends with the test, and deploys the scenario's
// template as the CDK app synthesizes it.
func Deploy(t testing.TB, o localaws.Options) *localaws.Server {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	server, err := localaws.Start(o)
	check(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		check(t, server.Close(ctx))
	})
	_, err = Create(ctx, server, Stack, scenario(t))
	check(t, err)
	return server
}

// Create creates a stack from a template, as if the account were bootstrapped: the
// version that the CDK's templates ask for is there. It returns when the stack is
// there, or has failed.
func Create(ctx context.Context, server *localaws.Server, name string, template any) (*cloudformation.Stack, error) {
	body, err := json.Marshal(template)
	if err != nil {
		return nil, err
	}
	server.SSM.Put("/cdk-bootstrap/hnb659fds/version", "30")
	id, err := server.CloudFormation.Create(cloudformation.Input{Name: name, TemplateBody: body})
	if err != nil {
		return nil, err
	}
	return server.CloudFormation.Await(ctx, id)
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

type object = map[string]any

// scenario is the golden template with a certificate signing request that the
// endpoint has not seen.
func scenario(t testing.TB) object {
	t.Helper()
	_, here, _, _ := runtime.Caller(0)
	golden, err := os.ReadFile(filepath.Join(filepath.Dir(here), "../../../infra/monitoring/testdata/default.template.json"))
	check(t, err)
	csr, err := keypair.Ensure(t.TempDir(), will.ThingName, true)
	check(t, err)
	var template object
	check(t, json.Unmarshal(golden, &template))
	for _, r := range template["Resources"].(object) {
		if r := r.(object); r["Type"] == "AWS::IoT::Certificate" {
			r["Properties"].(object)["CertificateSigningRequest"] = csr
		}
	}
	return template
}
