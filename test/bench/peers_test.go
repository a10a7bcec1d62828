package bench

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"lastwill/internal/device/brokertest"
	"lastwill/internal/localaws"
	"lastwill/internal/localaws/iam"
	"lastwill/internal/localaws/iot"
	"lastwill/internal/localaws/mail"
	"lastwill/internal/will"
)

var names = will.NewNames("")

// patience is how long something may take before a run counts as failed. It is
// no figure.
const patience = 2 * time.Minute

// An endpoint is the local AWS endpoint with the scenario's rule: republish
// and SNS, and one confirmed e-mail subscription.
type endpoint struct {
	*localaws.Server
	identity
}

func startEndpoint(t testing.TB, changes ...func(*localaws.Options)) *endpoint {
	t.Helper()
	options := localaws.Options{ConnectInterval: -1, Log: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	for _, change := range changes {
		change(&options)
	}
	server, err := localaws.Start(options)
	check(t, err)
	t.Cleanup(func() {
		if err := server.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	e := &endpoint{Server: server}
	e.identity = e.issueCertificate(t)
	e.createRule(t, e.createTopic(t))
	return e
}

// issueCertificate makes one certificate for all devices: the registry is not
// what is measured.
func (e *endpoint) issueCertificate(t testing.TB) identity {
	t.Helper()
	key := brokertest.NewKey(t)
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	check(t, err)
	c, err := e.IoT.CreateCertificateFromCSR(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr})), true)
	check(t, err)
	_, err = e.IoT.CreatePolicy("bench", `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":"iot:Connect","Resource":"`+localaws.Account.ARN("iot", "client/${iot:ClientId}")+`"},
		{"Effect":"Allow","Action":["iot:Publish","iot:Receive"],"Resource":"`+localaws.Account.ARN("iot", "topic//*")+`"},
		{"Effect":"Allow","Action":"iot:Subscribe","Resource":"`+localaws.Account.ARN("iot", "topicfilter//*")+`"}]}`, nil)
	check(t, err)
	check(t, e.IoT.AttachPolicy("bench", c.ARN))
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	check(t, err)
	return identity{
		Addr:     e.IoT.Address(),
		CAFile:   file(t, "ca.pem", e.IoT.RootCA()),
		CertFile: file(t, "device.crt", []byte(c.PEM)),
		KeyFile:  file(t, "device.key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})),
	}
}

func (e *endpoint) createTopic(t testing.TB) (topicARN string) {
	t.Helper()
	topicARN, err := e.SNS.CreateTopic(names.SNSTopic, nil, nil)
	check(t, err)
	_, err = e.SNS.Subscribe(topicARN, "email", "operator@example.com", nil)
	check(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	mails, err := e.Mailbox.Wait(ctx, 0)
	check(t, err)
	message, err := mail.Parse(mails[0].Raw)
	check(t, err)
	answer, err := http.Get(regexp.MustCompile(`http://\S+`).FindString(message.Body))
	check(t, err)
	answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		t.Fatalf("confirmation link answers %s", answer.Status)
	}
	return topicARN
}

func (e *endpoint) createRule(t testing.TB, topicARN string) {
	t.Helper()
	role, err := e.IAM.CreateRole(iam.RoleInput{Name: "lwtRuleRole", TrustPolicy: `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Principal":{"Service":"iot.amazonaws.com"},"Action":"sts:AssumeRole",
		"Condition":{"StringEquals":{"aws:SourceAccount":"` + localaws.Account.ID + `"}}}]}`})
	check(t, err)
	check(t, e.IAM.PutRolePolicy(role.Name, "actions", `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":"sns:Publish","Resource":"`+topicARN+`"},
		{"Effect":"Allow","Action":"iot:Publish","Resource":"`+localaws.Account.ARN("iot", "topic/"+names.ExecutedTopic)+`"}]}`))
	_, err = e.IoT.CreateTopicRule(names.Rule, iot.TopicRulePayload{
		SQL: will.SQL(names.WillTopic), AwsIotSQLVersion: will.SQLVersion,
		Actions: []iot.Action{
			{SNS: &iot.SNSAction{TargetARN: topicARN, RoleARN: role.ARN, MessageFormat: "RAW"}},
			{Republish: &iot.RepublishAction{RoleARN: role.ARN, Topic: names.ExecutedTopic}},
		},
	}, nil)
	check(t, err)
}

// startMosquitto starts the peer as fast as it can be: no log, no delay of
// small packets, no limit on queues.
func startMosquitto(t testing.TB) identity {
	t.Helper()
	pki := brokertest.NewPKI(t)
	serverCert, serverKey := pki.Issue(t, "mosquitto")
	cert, key := pki.Issue(t, "device")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	addr := l.Addr().(*net.TCPAddr)
	l.Close()
	conf := file(t, "mosquitto.conf", fmt.Appendf(nil, `
listener %d 127.0.0.1
cafile %s
certfile %s
keyfile %s
require_certificate true
allow_anonymous true
persistence false
user root
log_dest none
set_tcp_nodelay true
max_queued_messages 0
`, addr.Port, pki.CAFile, serverCert, serverKey))
	path, err := exec.LookPath("mosquitto")
	if err != nil {
		path = "/usr/sbin/mosquitto" // Debian installs it outside of users' PATH
	}
	// A shell's usual limit of 1,024 files would turn devices away; Go's own
	// programs raise it by themselves, mosquitto does not.
	cmd := exec.Command("sh", "-c", `ulimit -n "$(ulimit -Hn)" && exec "$0" -c "$1"`, path, conf)
	check(t, cmd.Start())
	exited := make(chan struct{})
	go func() { cmd.Wait(); close(exited) }()
	t.Cleanup(func() { cmd.Process.Kill(); <-exited })

	id := identity{addr.String(), pki.CAFile, cert, key}
	config := clientTLS(t, id)
	for {
		select {
		case <-exited:
			t.Fatalf("%s ended at once; run it with -c %s to see why", path, conf)
		default:
		}
		if c, err := connect(id.Addr, config, "probe", false); err == nil {
			c.drop()
			return id
		}
	}
}

func clientTLS(t testing.TB, id identity) *tls.Config {
	t.Helper()
	config, err := id.tls()
	check(t, err)
	return config
}

// file writes a file into a folder that goes with the test.
func file(t testing.TB, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	check(t, os.WriteFile(path, content, 0o600))
	return path
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
