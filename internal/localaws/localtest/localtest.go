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
	_, err = server.DeployAssembly(ctx, assembly(t))
	check(t, err)
	return server
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

type object = map[string]any

// assembly is a cloud assembly of the golden template, with a certificate signing
// request that the endpoint has not seen.
func assembly(t testing.TB) (dir string) {
	t.Helper()
	_, here, _, _ := runtime.Caller(0)
	golden, err := os.ReadFile(filepath.Join(filepath.Dir(here), "../../../infra/monitoring/testdata/default.template.json"))
	check(t, err)
	dir = t.TempDir()
	csr, err := keypair.Ensure(dir, will.ThingName, true)
	check(t, err)
	var template object
	check(t, json.Unmarshal(golden, &template))
	for _, r := range template["Resources"].(object) {
		if r := r.(object); r["Type"] == "AWS::IoT::Certificate" {
			r["Properties"].(object)["CertificateSigningRequest"] = csr
		}
	}
	manifest := object{"artifacts": object{Stack: object{
		"type": "aws:cloudformation:stack", "properties": object{
			"templateFile": "template.json", "requiresBootstrapStackVersion": 6,
			"bootstrapStackVersionSsmParameter": "/cdk-bootstrap/hnb659fds/version",
		},
	}}}
	for file, content := range map[string]any{"template.json": template, "manifest.json": manifest} {
		b, err := json.Marshal(content)
		check(t, err)
		check(t, os.WriteFile(filepath.Join(dir, file), b, 0o600))
	}
	return dir
}
