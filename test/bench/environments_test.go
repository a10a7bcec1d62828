package bench

import (
	"context"
	"crypto/x509"
	"os"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"

	endtoend "lastwill/internal/check"
	"lastwill/internal/deployed"
	"lastwill/internal/leftovers"
	"lastwill/internal/localaws"
	"lastwill/internal/localaws/api"
	"lastwill/internal/localaws/cloudformation"
)

// BenchmarkThreeEnvironments creates, checks and destroys three environments side by
// side, as three pipelines do: what the local endpoint and the checks take beyond
// the CDK CLI and synthesis. A check waits for at least a second that nothing
// follows a proper disconnect.
func BenchmarkThreeEnvironments(b *testing.B) {
	golden, err := os.ReadFile("../../infra/monitoring/testdata/environment.template.json")
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		server, err := localaws.Start(localaws.Options{})
		if err != nil {
			b.Fatal(err)
		}
		server.SSM.Put("/cdk-bootstrap/hnb659fds/version", "30")
		names := []string{"blue", "green", "red"}
		failed := make(chan error, len(names))
		for _, name := range names {
			go func() { failed <- liveAndDie(b.Context(), server, name, string(golden)) }()
		}
		for range names {
			if err := <-failed; err != nil {
				b.Fatal(err)
			}
		}
		b.StopTimer()
		if err := server.Close(context.Background()); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

func liveAndDie(ctx context.Context, server *localaws.Server, name, golden string) error {
	stack := "Lastwill-" + name
	id, err := server.CloudFormation.Create(cloudformation.Input{Name: stack, TemplateBody: []byte(strings.ReplaceAll(golden, "staging", name))})
	if err != nil {
		return err
	}
	if _, err := server.CloudFormation.Await(ctx, id); err != nil {
		return err
	}
	config := aws.Config{
		Region: localaws.Account.Region, BaseEndpoint: aws.String(server.URL()),
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: api.TestAccessKeyID, SecretAccessKey: api.TestSecretAccessKey}, nil
		}),
	}
	target, err := deployed.Target(ctx, config, stack)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(server.IoT.RootCA())
	if _, err := endtoend.Run(ctx, endtoend.Options{AWS: config, Target: target, Roots: roots}); err != nil {
		return err
	}
	if err := server.CloudFormation.Delete(id); err != nil {
		return err
	}
	if _, err := server.CloudFormation.Await(ctx, id); err != nil {
		return err
	}
	_, err = leftovers.Find(ctx, leftovers.Options{AWS: config, Environment: name})
	return err
}
