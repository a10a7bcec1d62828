package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/textproto"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"lastwill/internal/atomicfile"
	"lastwill/internal/cli"
	"lastwill/internal/localaws"
	"lastwill/internal/localaws/api"
	"lastwill/internal/localaws/cloudformation"
	"lastwill/internal/localaws/iot"
	"lastwill/internal/localaws/loopback"
	"lastwill/internal/localaws/mail"
	"lastwill/internal/page"
	localpage "lastwill/internal/page/local"
	"lastwill/internal/wsconn"
)

// closeLimit is how long deployments, functions and mails may take to end; a second
// signal ends them at once.
const closeLimit = 30 * time.Second

const localUsage = `lwt local is a local AWS endpoint for the stack: cdk bootstrap, deploy, diff and
destroy, the aws CLI, devices and e-mails work against it, without an account.

Usage: lwt local [FLAGS]          run it until SIGINT
       lwt local env [-addr A]    print the environment that leads to a running one:
                                  eval "$(lwt local env)"

  -addr HOST:PORT   where the AWS APIs are; default 127.0.0.1:4566
  -mqtt HOST:PORT   where devices connect: MQTT over mutual TLS, with or without
                    ALPN, and over WebSocket; default 127.0.0.1:8883
  -smtp HOST:PORT   hand e-mails to this server, which must be up; default: a mailbox of
                    its own
  -data DIR         keep stacks, certificates, subscriptions and mails in DIR;
                    default: in memory, gone with the process
  -certs DIR        keys of the devices that the page starts; default certs
  -open             take the AWS credentials test and test, from everybody on this
                    machine; default: random ones, which only you get from env

Everything is on the loopback interface. Port 0 takes a free port. Who has the AWS
credentials deploys code that runs as you. The page, the devices' port and the mailbox
ask for none: on a shared machine, all its users can open them.

Exit codes: 0 ended by SIGINT or SIGTERM, env found one running; 1 failed, such as
for a port that is taken; 2 wrong usage.
`

const (
	defaultAPI  = "127.0.0.1:4566"
	defaultMQTT = "127.0.0.1:8883"
)

func runLocal(ctx context.Context, args []string, s cli.Streams) error {
	if len(args) > 0 && args[0] == "env" {
		return runLocalEnv(ctx, args[1:], s)
	}
	flags := flag.NewFlagSet("lwt local", flag.ContinueOnError)
	addr := flags.String("addr", defaultAPI, "")
	mqtt := flags.String("mqtt", defaultMQTT, "")
	smtp := flags.String("smtp", "", "")
	data := flags.String("data", "", "")
	certs := flags.String("certs", "certs", "")
	open := flags.Bool("open", false, "")
	if err := cli.Parse(flags, args, s.Out, localUsage); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return cli.WithHint(cli.Usagef("unexpected argument %q%s", flags.Arg(0), cli.Meant(flags.Arg(0), []string{"env"})), "lwt local -h shows the flags")
	}
	if err := checkMailServer(ctx, *smtp); err != nil {
		return err
	}
	var user api.User
	var file string
	if !*open {
		var remove func() error
		var err error
		if user, file, remove, err = keepUser(*data); err != nil {
			return err
		}
		defer remove() //nolint:errcheck // a folder of temporary files that stays
	}
	observer, shown := &observer{out: s.Out}, localpage.New(*certs)
	server, err := localaws.Start(localaws.Options{
		User: user, CredentialsFile: file,
		HTTPAddress: *addr, MQTTAddress: *mqtt, SMTPAddress: *smtp, DataDir: *data,
		ObserveIoT:    func(e iot.Event) { shown.ObserveIoT(e); observer.iot(e) },
		ObserveStacks: func(e cloudformation.Event) { shown.ObserveStacks(e); observer.stack(e) },
		Page:          shown.Serve,
		Log:           slog.New(slog.NewTextHandler(s.Err, nil)),
	})
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return cli.WithHint(err, "another port: -addr 127.0.0.1:0 -mqtt 127.0.0.1:0")
	case errors.As(err, new(*loopback.AddressError)):
		return cli.WithHint(cli.Usagef("%w", err), "give HOST:PORT, such as 127.0.0.1:0 for a free port")
	case err != nil:
		return err
	}
	printReady(s.Out, server.Status(), *addr, *data)
	if server.Mailbox != nil { // else somebody else's server has the mails
		go observer.mails(ctx, server.Mailbox, len(server.Mailbox.List()))
	}
	<-ctx.Done()
	fmt.Fprintln(s.Out, "\nshutting down")
	again, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	closing, cancel := context.WithTimeout(again, closeLimit)
	defer cancel()
	return server.Close(closing)
}

// keepUser returns a user with random credentials, and the file that keeps them for
// local env: in the data folder, so that a restart changes nothing, or else in a folder
// that remove removes.
func keepUser(data string) (user api.User, file string, remove func() error, err error) {
	dir, remove := data, func() error { return nil }
	if data == "" {
		if dir, err = os.MkdirTemp("", "lastwill-local-"); err != nil { // its owner's only
			return user, "", nil, err
		}
		remove = func() error { return os.RemoveAll(dir) }
	} else if err := os.MkdirAll(data, 0o700); err != nil {
		return user, "", nil, err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return user, "", nil, err
	}
	file = filepath.Join(dir, "credentials.json")
	if user, err = readUser(file); err == nil {
		return user, file, remove, nil
	}
	user = api.NewUser()
	content, err := json.Marshal(user)
	if err != nil {
		return user, "", nil, err
	}
	return user, file, remove, atomicfile.Write(file, content)
}

func readUser(file string) (user api.User, err error) {
	content, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(content, &user)
	}
	if err == nil && (user.AccessKeyID == "" || user.SecretAccessKey == "") {
		err = fmt.Errorf("%s has no credentials", file)
	}
	return user, err
}

// mailPatience is how long a mail server may take to greet.
const mailPatience = 10 * time.Second

// checkMailServer is an error if no mail server greets at an address (RFC 5321, 4.2);
// without an address there is nothing to check.
func checkMailServer(ctx context.Context, address string) error {
	if address == "" {
		return nil
	}
	if _, port, err := net.SplitHostPort(address); err != nil || port == "" {
		return cli.WithHint(cli.Usagef("-smtp %q is not HOST:PORT", address), "give the port, too, such as -smtp 127.0.0.1:25; without -smtp there is a mailbox")
	}
	const hint = "start the mail server first, or leave -smtp out for a mailbox"
	ctx, cancel := context.WithTimeout(ctx, mailPatience)
	defer cancel()
	connection, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return cli.WithHint(fmt.Errorf("-smtp %q: %w", address, err), hint)
	}
	defer connection.Close()
	end, _ := ctx.Deadline()
	connection.SetDeadline(end)
	if _, _, err := textproto.NewConn(connection).ReadResponse(220); err != nil {
		return cli.WithHint(fmt.Errorf("-smtp %q: what listens there does not greet as a mail server: %w", address, err), hint)
	}
	return nil
}

func printReady(out io.Writer, status localaws.Status, addr, data string) {
	env := "lwt local env"
	if addr != defaultAPI {
		env += " -addr " + strings.TrimPrefix(status.Endpoint, "http://")
	}
	keeps := "in memory; -data DIR keeps it"
	if data != "" {
		keeps = data
	}
	mailbox := "handed to the -smtp server"
	if status.SMTP != "" {
		mailbox = "built-in mailbox " + status.SMTP
	}
	access := "random; lwt local env prints them to you alone"
	if status.Credentials == "" {
		access = "test and test, for everybody on this machine (-open)"
	}
	fmt.Fprintf(out, "page       %s%s  what happens, live\n", status.Endpoint, page.Root)
	fmt.Fprintf(out, "access     %s\n", access)
	fmt.Fprintf(out, "AWS APIs   %s  account %s, region %s\nMQTT       %s  mutual TLS, with or without ALPN; wss://%s%s with AWS credentials\ne-mails    %s\nstate      %s\n\n",
		status.Endpoint, status.Account, status.Region, status.MQTT, status.MQTT, wsconn.Path, mailbox, keeps)
	fmt.Fprintf(out, "in another shell:\n  eval \"$(go run ./cmd/%s)\"\n  npx cdk bootstrap -c email=me@example.com && npx cdk deploy -c email=me@example.com\n\n", env)
}

// An observer prints what happens as it happens.
type observer struct{ out io.Writer }

func (o *observer) line(format string, args ...any) {
	fmt.Fprintf(o.out, "%s  %s\n", time.Now().Format("15:04:05.000"), fmt.Sprintf(format, args...))
}

func (o *observer) iot(e iot.Event) {
	switch e.Kind {
	case iot.Pinged: // nobody wants to read that
	case iot.Published:
		what := "message"
		if e.Message.Will {
			what = "Will Message"
		}
		o.line("%-12s %s on %s  %.200q", what, e.ClientID, e.Message.Topic, e.Message.Payload)
	case iot.Matched, iot.NotMatched, iot.ActionDone, iot.ActionFailed:
		o.line("%-12s %s  %s", e.Kind, e.Rule, e.Detail)
	default:
		o.line("%-12s %s  %s", e.Kind, e.ClientID, e.Detail)
	}
}

func (o *observer) stack(e cloudformation.Event) {
	// What AWS leaves behind has a reason, too.
	left := e.Status == "DELETE_COMPLETE" && e.StatusReason != ""
	if e.Type == cloudformation.StackType || strings.HasSuffix(e.Status, "_FAILED") || left {
		o.line("%-12s %s %s  %s", "stack", e.LogicalID, e.Status, e.StatusReason)
	}
}

// mails prints each mail after the first seen ones, and the link that confirms
// a subscription. It returns when ctx ends.
func (o *observer) mails(ctx context.Context, box *mail.Mailbox, seen int) {
	for {
		mails, err := box.Wait(ctx, seen)
		if err != nil {
			return
		}
		seen += len(mails)
		for _, m := range mails {
			message, err := mail.Parse(m.Raw)
			if err != nil { // not one of SNS's
				o.line("%-12s %s", "e-mail", err)
				continue
			}
			o.line("%-12s %s  %s", "e-mail", message.To.Address, message.Subject)
			if url := confirmLink.FindString(message.Body); url != "" {
				o.line("%-12s follow %s", "", url)
			}
		}
	}
}

// runLocalEnv prints the environment for a shell.
func runLocalEnv(ctx context.Context, args []string, s cli.Streams) error {
	flags := flag.NewFlagSet("lwt local env", flag.ContinueOnError)
	addr := flags.String("addr", defaultAPI, "")
	if err := cli.Parse(flags, args, s.Out, localUsage); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return cli.WithHint(cli.Usagef("unexpected argument %q", flags.Arg(0)), "lwt local env -h shows the flags")
	}
	status, err := localStatus(ctx, *addr)
	if err != nil {
		return cli.WithHint(err, "start it in another shell: lwt local")
	}
	var user api.User
	if status.Credentials != "" {
		if user, err = readUser(status.Credentials); err != nil {
			return cli.WithHint(fmt.Errorf("the local endpoint at %s is somebody else's: %w", *addr, err),
				"start one of your own: lwt local -addr 127.0.0.1:0 -mqtt 127.0.0.1:0")
		}
	}
	ca, err := writeRootCA(status)
	if err != nil {
		return err
	}
	variables := append(endpointVariables(status, user), variable{"LWT_MQTT", status.MQTT}, variable{"LWT_ROOT_CA", ca})
	for _, v := range variables {
		fmt.Fprintf(s.Out, "export %s=%s\n", v.name, shellQuote(v.value))
	}
	// A proxy must not get to see requests to this machine. Some programs read the one
	// name, some the other.
	for _, name := range []string{"NO_PROXY", "no_proxy"} {
		fmt.Fprintf(s.Out, "export %[1]s=\"127.0.0.1${%[1]s:+,$%[1]s}\"\n", name)
	}
	fmt.Fprintln(s.Out, "unset "+strings.Join(append(misleading, otherEndpoints(os.Environ())...), " "))
	return nil
}

// misleading variables lead to another account than the local one, or past its
// address (SDKs and tools reference guide, "Environment variables support").
var misleading = []string{
	"AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN", "AWS_CREDENTIAL_EXPIRATION",
	"AWS_ROLE_ARN", "AWS_ROLE_SESSION_NAME", "AWS_WEB_IDENTITY_TOKEN_FILE",
	"AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
	"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT",
}

var serviceEndpoint = regexp.MustCompile(`^(AWS_ENDPOINT_URL_[A-Z0-9_]+)=`)

// otherEndpoints are those set for one service, which would win over AWS_ENDPOINT_URL.
func otherEndpoints(environment []string) (names []string) {
	for _, v := range environment {
		if found := serviceEndpoint.FindStringSubmatch(v); found != nil && found[1] != "AWS_ENDPOINT_URL_S3" {
			names = append(names, found[1])
		}
	}
	return names
}

type variable struct{ name, value string }

// endpointVariables lead the CDK CLI, the aws CLI and the SDKs to an endpoint, as a user
// of it; the zero user has the test credentials.
func endpointVariables(status localaws.Status, user api.User) []variable {
	if user == (api.User{}) {
		user = api.User{AccessKeyID: api.TestAccessKeyID, SecretAccessKey: api.TestSecretAccessKey}
	}
	return []variable{
		{"AWS_ENDPOINT_URL", status.Endpoint},
		{"AWS_ENDPOINT_URL_S3", status.Endpoint},
		{"AWS_ACCESS_KEY_ID", user.AccessKeyID},
		{"AWS_SECRET_ACCESS_KEY", user.SecretAccessKey},
		{"AWS_REGION", status.Region},
		{"AWS_DEFAULT_REGION", status.Region},
		// Without credentials of the machine's own role to be found.
		{"AWS_EC2_METADATA_DISABLED", "true"},
	}
}

// localStatus asks a running endpoint how to use it.
func localStatus(ctx context.Context, addr string) (status localaws.Status, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+localaws.StatusPath, nil)
	if err != nil {
		return status, fmt.Errorf("address %q: %w", addr, err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return status, fmt.Errorf("no local endpoint answers at %s: %w", addr, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return status, fmt.Errorf("what answers at %s is no local endpoint of lastwill: %s", addr, response.Status)
	}
	if err := json.NewDecoder(response.Body).Decode(&status); err != nil {
		return status, fmt.Errorf("what answers at %s is no local endpoint of lastwill: %w", addr, err)
	}
	return status, nil
}

// writeRootCA keeps the endpoint's CA where devices can be pointed at it.
func writeRootCA(status localaws.Status) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("folder for the CA file: %w", err)
	}
	dir := filepath.Join(cache, "lastwill")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	_, port, ok := strings.Cut(strings.TrimPrefix(status.Endpoint, "http://"), ":")
	if !ok {
		return "", errors.New("the endpoint's address has no port")
	}
	file := filepath.Join(dir, "root-ca-"+port+".pem")
	return file, atomicfile.Write(file, []byte(status.RootCA))
}

func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
