package bench

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"lastwill/internal/localaws"
	"lastwill/internal/localaws/cloudformation"
)

// BenchmarkCDKShare is what the local endpoint itself takes of cdk deploy and cdk
// destroy, of which the CLI takes seconds: the time within its answers, polls
// included, and that of the stack operation. Median of five.
func BenchmarkCDKShare(b *testing.B) {
	server, err := localaws.Start(localaws.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = server.Close(context.Background()) })
	target, err := url.Parse(server.URL())
	if err != nil {
		b.Fatal(err)
	}
	var answering atomic.Int64
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host // the signature covers it
	}}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		proxy.ServeHTTP(w, r)
		answering.Add(int64(time.Since(began)))
	}))
	b.Cleanup(front.Close)

	dir := b.TempDir()
	assembly := filepath.Join(dir, "cdk.out")
	cdk := func(args ...string) {
		b.Helper()
		cmd := exec.CommandContext(b.Context(), filepath.Join("node_modules", ".bin", "cdk"), append(args, "--no-notices")...)
		cmd.Dir = filepath.Join("..", "..")
		cmd.Env = append(os.Environ(), "AWS_ENDPOINT_URL="+front.URL, "AWS_ENDPOINT_URL_S3="+front.URL, "AWS_ACCESS_KEY_ID=test",
			"AWS_SECRET_ACCESS_KEY=test", "AWS_REGION="+localaws.Account.Region, "AWS_EC2_METADATA_DISABLED=true",
			"AWS_CONFIG_FILE="+os.DevNull, "AWS_SHARED_CREDENTIALS_FILE="+os.DevNull,
			"CI=false", "CDK_VALIDATION=false", "CDK_DISABLE_CLI_TELEMETRY=1", "NODE_NO_WARNINGS=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("cdk %v: %v\n%s", args, err, out)
		}
	}
	cdk("synth", "--quiet", "--output", assembly, "-c", "email=ops@example.com", "-c", "certs="+filepath.Join(dir, "certs"))
	cdk("bootstrap", "--app", assembly, "aws://"+localaws.Account.ID+"/"+localaws.Account.Region)

	// share runs a command and adds its answers to its operation.
	share := func(command string, args ...string) time.Duration {
		b.Helper()
		answering.Store(0)
		began := time.Now()
		cdk(append([]string{command, "--app", assembly}, args...)...)
		took := time.Duration(answering.Load())
		for _, stack := range server.CloudFormation.List() {
			events := slices.DeleteFunc(stack.Events, func(e cloudformation.Event) bool {
				return stack.Name != "Lastwill" || e.Time.Before(began) || e.Status == "REVIEW_IN_PROGRESS" // the change set waits for the CLI
			})
			if len(events) > 0 {
				took += events[len(events)-1].Time.Sub(events[0].Time)
			}
		}
		return took
	}
	var deploys, destroys []time.Duration
	for b.Loop() {
		for range 5 {
			deploys = append(deploys, share("deploy", "--require-approval", "never"))
			destroys = append(destroys, share("destroy", "--force"))
		}
	}
	slices.Sort(deploys)
	slices.Sort(destroys)
	b.ReportMetric(float64(deploys[len(deploys)/2].Milliseconds()), "ms/deploy")
	b.ReportMetric(float64(destroys[len(destroys)/2].Milliseconds()), "ms/destroy")
	b.Logf("deploys %v, destroys %v", deploys, destroys)
}
