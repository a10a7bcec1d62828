package deployed_test

import (
	"context"
	"encoding/json"
	"os"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"lastwill/internal/deployed"
	"lastwill/internal/localaws"
	"lastwill/internal/localaws/api"
	"lastwill/internal/localaws/localtest"
)

// What is printed after an incident is pasted: it must have the settings that the app
// wants, and none that would change the stack.
func TestCommandsForAStackHaveItsSettings(t *testing.T) {
	t.Parallel()
	server, err := localaws.Start(localaws.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close(context.Background()) })
	config := aws.Config{
		Region: localaws.Account.Region, BaseEndpoint: aws.String(server.URL()),
		Credentials: credentials.NewStaticCredentialsProvider(api.TestAccessKeyID, api.TestSecretAccessKey, ""),
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for _, tt := range []struct{ stack, template, deploy, destroy string }{
		{"Lastwill", "default", " -c email=ops@example.com -c certs=testdata/certs", " -c email=ops@example.com -c certs=testdata/certs"},
		{
			"Lastwill-staging", "environment",
			" -c environment=staging -c email=night.shift+iot@example.org,ops@example.com -c things=lwtThing,pump,valve_7 -c keepAlive=60 -c certs=testdata/certs",
			" -c environment=staging -c email=night.shift+iot@example.org,ops@example.com -c things=lwtThing,pump,valve_7 -c certs=testdata/certs",
		},
		{"Lastwill-none", "", " -c environment=none", " -c environment=none"},
	} {
		if tt.template != "" {
			content, err := os.ReadFile("../../infra/monitoring/testdata/" + tt.template + ".template.json")
			if err != nil {
				t.Fatal(err)
			}
			var template any
			if err := json.Unmarshal(content, &template); err != nil {
				t.Fatal(err)
			}
			if _, err := localtest.Create(ctx, server, tt.stack, template); err != nil {
				t.Fatal(err)
			}
		}
		if got, want := deployed.RevertDrift(ctx, config, tt.stack), "npx cdk deploy --revert-drift"+tt.deploy; got != want {
			t.Errorf("%s:\n%s\nwant\n%s", tt.stack, got, want)
		}
		if got, want := deployed.Destroy(ctx, config, tt.stack), "npx cdk destroy --force"+tt.destroy; got != want {
			t.Errorf("%s:\n%s\nwant\n%s", tt.stack, got, want)
		}
	}
}
