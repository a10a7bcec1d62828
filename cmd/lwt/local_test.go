package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iot"

	"lastwill/internal/localaws/mail"
)

// A local is a running `lwt local`.
type local struct {
	t       *testing.T
	cmd     *exec.Cmd
	lines   *bufio.Scanner
	intro   string // what it printed until it was ready
	address string
}

func startLocal(t *testing.T, args ...string) *local {
	t.Helper()
	l := &local{t: t, cmd: exec.Command("lwt", append([]string{"local", "-addr", "127.0.0.1:0", "-mqtt", "127.0.0.1:0"}, args...)...)}
	out, err := l.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	l.cmd.Stderr = os.Stderr
	if err := l.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.cmd.Process.Kill() })
	l.lines = bufio.NewScanner(out)
	for !strings.Contains(l.intro, "npx cdk bootstrap") && l.lines.Scan() {
		l.intro += l.lines.Text() + "\n"
	}
	l.address = strings.TrimPrefix(regexp.MustCompile(`http://127\.0\.0\.1:\d+`).FindString(l.intro), "http://")
	return l
}

// interrupt ends it as Ctrl-C does and returns what it still printed.
func (l *local) interrupt() string {
	l.t.Helper()
	if err := l.cmd.Process.Signal(syscall.SIGINT); err != nil {
		l.t.Fatal(err)
	}
	var rest strings.Builder
	for l.lines.Scan() {
		rest.WriteString(l.lines.Text() + "\n")
	}
	if err := l.cmd.Wait(); err != nil {
		l.t.Errorf("interrupted, it ends with %v", err)
	}
	return rest.String()
}

// fails runs lwt and returns what it says on standard error.
func fails(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command("lwt", args...)
	var stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = io.Discard, &stderr
	if err := cmd.Run(); err == nil || cmd.ProcessState.ExitCode() != 1 {
		t.Errorf("lwt %v ends with %v", args, err)
	}
	return stderr.String()
}

func TestLocalTellsHowToUseIt(t *testing.T) {
	t.Parallel()
	l := startLocal(t)
	for _, want := range []string{"account 123456789012, region us-east-1", "mutual TLS", "state      in memory; -data DIR keeps it", "lwt local env -addr " + l.address} {
		if !strings.Contains(l.intro, want) {
			t.Errorf("it does not print %q:\n%s", want, l.intro)
		}
	}
	if rest := l.interrupt(); !strings.Contains(rest, "shutting down") {
		t.Errorf("interrupted, it prints %q", rest)
	}
	if said := fails(t, "local", "env", "-addr", l.address); !strings.Contains(said, "hint: start it in another shell: lwt local") {
		t.Errorf("without an endpoint env says %q", said)
	}
}

// signed asks the endpoint who the caller is, with the credentials of an environment.
func signed(t *testing.T, l *local, accessKeyID, secret string) error {
	t.Helper()
	config := aws.Config{Region: "us-east-1", BaseEndpoint: aws.String("http://" + l.address), Credentials: credentials.NewStaticCredentialsProvider(accessKeyID, secret, "")}
	_, err := iot.NewFromConfig(config).ListThings(t.Context(), nil)
	return err
}

// environment is what local env prints for an endpoint.
func (l *local) environment(t *testing.T) map[string]string {
	t.Helper()
	shell := exec.Command("sh", "-c", `eval "$(lwt local env -addr `+l.address+`)"; env`)
	shell.Env = append(os.Environ(), "XDG_CACHE_HOME="+t.TempDir())
	out, err := shell.Output()
	if err != nil {
		t.Fatal(err)
	}
	variables := map[string]string{}
	for line := range strings.Lines(string(out)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		variables[name] = value
	}
	return variables
}

// Whoever deploys runs code as the owner of lwt local: others on the machine must not.
func TestLocalTakesTheCredentialsThatItHandsOut(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "data")
	l := startLocal(t, "-data", data)
	mine := l.environment(t)
	id, secret := mine["AWS_ACCESS_KEY_ID"], mine["AWS_SECRET_ACCESS_KEY"]
	if err := signed(t, l, id, secret); err != nil {
		t.Errorf("its own credentials: %v", err)
	}
	for _, others := range [][2]string{{"test", "test"}, {id, "test"}, {id, secret[1:]}, {"AKIA", secret}} {
		if err := signed(t, l, others[0], others[1]); err == nil {
			t.Errorf("it takes %s with another secret", others[0])
		}
	}
	file := filepath.Join(data, "credentials.json")
	if info, err := os.Stat(file); err != nil || info.Mode() != 0o600 {
		t.Errorf("the file of the credentials: %v, %v", info, err)
	}
	if strings.Contains(l.intro, secret) {
		t.Error("it prints the secret")
	}
	// Who may not read the file gets nothing.
	if err := os.Rename(file, file+".away"); err != nil {
		t.Fatal(err)
	}
	if said := fails(t, "local", "env", "-addr", l.address); !strings.Contains(said, "is somebody else's") || !strings.Contains(said, "hint: start one of your own") {
		t.Errorf("without its file env says %q", said)
	}
	if err := os.Rename(file+".away", file); err != nil {
		t.Fatal(err)
	}
	l.interrupt()

	// A restart with the same state takes the same, another endpoint does not.
	again := startLocal(t, "-data", data)
	if err := signed(t, again, id, secret); err != nil {
		t.Errorf("after a restart: %v", err)
	}
	other := startLocal(t)
	theirs := other.environment(t)
	if err := signed(t, other, id, secret); err == nil || theirs["AWS_SECRET_ACCESS_KEY"] == secret {
		t.Error("two endpoints take the same credentials")
	}
	other.interrupt()

	// For scripts there is a pair that everybody knows.
	open := startLocal(t, "-open")
	if err := signed(t, open, "test", "test"); err != nil || open.environment(t)["AWS_ACCESS_KEY_ID"] != "test" {
		t.Errorf("-open: %v", err)
	}
}

// What a shell had set before must not lead anywhere else.
func TestLocalEnvLeadsToTheEndpointOnly(t *testing.T) {
	t.Parallel()
	l := startLocal(t)
	shell := exec.Command("sh", "-c", `eval "$(lwt local env -addr `+l.address+`)"; env; cat "$LWT_ROOT_CA"`)
	shell.Env = append(os.Environ(), "XDG_CACHE_HOME="+t.TempDir(), "AWS_PROFILE=production", "AWS_SESSION_TOKEN=x", "AWS_REGION=eu-west-1",
		"AWS_ENDPOINT_URL_STS=https://sts.example.com", "AWS_ENDPOINT_URL_S3=https://s3.example.com", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS=true",
		"AWS_USE_FIPS_ENDPOINT=true", "no_proxy=example.com")
	out, err := shell.Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"\nAWS_ENDPOINT_URL=http://" + l.address + "\n", "\nAWS_ENDPOINT_URL_S3=http://" + l.address + "\n", "\nAWS_REGION=us-east-1\n",
		"\nAWS_ACCESS_KEY_ID=AKIA", "\nLWT_MQTT=127.0.0.1:", "\nno_proxy=127.0.0.1,example.com\n", "\nNO_PROXY=127.0.0.1", "-----BEGIN CERTIFICATE-----",
	} {
		if !strings.Contains("\n"+string(out), want) {
			t.Errorf("the environment lacks %q", want)
		}
	}
	for _, name := range []string{"AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_STS", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "AWS_USE_FIPS_ENDPOINT"} {
		if strings.Contains("\n"+string(out), "\n"+name+"=") {
			t.Errorf("%s is still set", name)
		}
	}
}

func TestLocalSaysWhatIsTaken(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "data")
	l := startLocal(t, "-data", data)
	if !strings.Contains(l.intro, "state      "+data) {
		t.Errorf("it does not print where its state is:\n%s", l.intro)
	}
	said := fails(t, "local", "-addr", l.address, "-mqtt", "127.0.0.1:0")
	if !strings.Contains(said, l.address) || !strings.Contains(said, "in use") || !strings.Contains(said, "hint: another port") {
		t.Errorf("of a port that is taken it says %q", said)
	}
	said = fails(t, "local", "-addr", "127.0.0.1:0", "-mqtt", "127.0.0.1:0", "-data", data)
	if !strings.Contains(said, "data folder "+data+" is in use by another local endpoint") || strings.Contains(said, "another port") {
		t.Errorf("of a folder that is taken it says %q", said)
	}
	l.interrupt()
	startLocal(t, "-data", data).interrupt()
}

// Whoever tries lwt local has to confirm before a mail comes, and reads the
// terminal, not a mailbox.
func TestMailsAreToldWithTheLinkThatConfirms(t *testing.T) {
	t.Parallel()
	quiet := slog.New(slog.DiscardHandler)
	box, err := mail.NewMailbox("127.0.0.1:0", "", quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer box.Close()
	mailer := mail.NewMailer(box.Addr(), quiet)
	defer mailer.Close(context.Background())
	const link = "http://127.0.0.1:4566/_lwt/sns/confirm?Token=abc"
	for _, m := range []mail.Message{
		{Subject: "told already", Body: "x"},
		{Subject: "AWS Notification - Subscription Confirmation", Body: "Follow the link below:\n" + link + "\n"},
		{Subject: "AWS Notification Message", Body: "{}"},
	} {
		m.From, m.To = mail.Address{Address: "no-reply@sns.amazonaws.com"}, mail.Address{Address: "me@example.com"}
		if err := mailer.Send(m); err != nil {
			t.Fatal(err)
		}
		if err := mailer.Flush(t.Context()); err != nil { // two at once may overtake each other
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out, told := io.Pipe()
	go func() {
		(&observer{out: told}).mails(ctx, box, 1)
		told.Close()
	}()
	var lines []string
	for _, want := range []string{
		"e-mail       me@example.com  AWS Notification - Subscription Confirmation",
		"follow " + link,
		"e-mail       me@example.com  AWS Notification Message",
	} {
		line := make([]byte, 256) // each line is one write
		n, err := out.Read(line)
		if lines = append(lines, string(line[:n])); err != nil || !strings.HasSuffix(string(line[:n]), want+"\n") {
			t.Fatalf("want a line that ends with %q, got %q, %v", want, lines, err)
		}
	}
	cancel()
	if n, err := out.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("after the end: %d bytes, %v", n, err)
	}
}
