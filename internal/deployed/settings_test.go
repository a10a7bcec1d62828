package deployed_test

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"lastwill/internal/deployed"
	"lastwill/internal/localaws"
	"lastwill/internal/localaws/api"
	"lastwill/internal/localaws/localtest"
)

// What is pasted must not switch off what the stack has.
func TestAStackWithConfirmedAlertsKeepsThem(t *testing.T) {
	t.Parallel()
	for template, want := range map[string]string{"confirmed": "-c grace=3m0s", "quiet": "-c alarms=false -c dashboard=false", "check": "-c check=true"} {
		content, err := os.ReadFile("../../infra/monitoring/testdata/" + template + ".template.json")
		if err != nil {
			t.Fatal(err)
		}
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.FormValue("Action") == "GetTemplate" {
				fmt.Fprint(w, "<GetTemplateResponse><GetTemplateResult><TemplateBody>")
				_ = xml.EscapeText(w, content)
				fmt.Fprint(w, "</TemplateBody></GetTemplateResult></GetTemplateResponse>")
				return
			}
			fmt.Fprint(w, "<DescribeStacksResponse><DescribeStacksResult><Stacks><member><StackName>Lastwill</StackName><Tags>"+
				"<member><Key>app</Key><Value>lastwill</Value></member><member><Key>team</Key><Value>a b</Value></member>"+
				"</Tags></member></Stacks></DescribeStacksResult></DescribeStacksResponse>")
		}))
		defer server.Close()
		config := aws.Config{Region: "us-east-1", BaseEndpoint: aws.String(server.URL), Credentials: credentials.NewStaticCredentialsProvider("a", "b", "")}
		got := deployed.RevertDrift(t.Context(), config, "Lastwill")
		if !strings.HasPrefix(got, "npx cdk deploy --revert-drift -c email=ops@example.com ") || !strings.Contains(got, want) || !strings.HasSuffix(got, " -c tags='team=a b'") {
			t.Errorf("%s: %s", template, got)
		}
	}
}

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
