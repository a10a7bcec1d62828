package ends

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iotdataplane"

	"lastwill/internal/device"
	"lastwill/internal/device/brokertest"
	"lastwill/internal/localaws"
	"lastwill/internal/localaws/api"
	"lastwill/internal/localaws/iam"
	"lastwill/internal/localaws/iot"
	"lastwill/internal/will"
)

// patience is how long an event may take before a test gives up on it: longer
// than the broker takes to notice silence. It only matters to tests that fail.
const patience = 2 * time.Minute

var names = will.NewNames("")

// A cloud is the local endpoint with the scenario's rule and one certificate that
// may be any client.
type cloud struct {
	*localaws.Server
	caFile, certFile, keyFile string
	certificate               tls.Certificate
	roots                     *x509.CertPool
	credentials               aws.CredentialsProvider

	mu      sync.Mutex
	changed chan struct{}
	clients map[string]*history
}

// A history is what the broker did with a client ID.
type history struct {
	connected     int
	ended         []string // AWS's reasons
	wills, copies int
	qos           byte // of the will
}

func startCloud(t *testing.T) *cloud {
	t.Helper()
	c := &cloud{
		changed: make(chan struct{}), clients: map[string]*history{},
		credentials: credentials.NewStaticCredentialsProvider(api.TestAccessKeyID, api.TestSecretAccessKey, ""),
	}
	// MQTT.js takes over at once.
	server, err := localaws.Start(localaws.Options{ObserveIoT: c.observe, ConnectInterval: -1})
	check(t, err)
	c.Server = server
	key := brokertest.NewKey(t)
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	check(t, err)
	certificate, err := c.IoT.CreateCertificateFromCSR(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr})), true)
	check(t, err)
	_, err = c.IoT.CreatePolicy("devices", `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iot:*","Resource":"*"}}`, nil)
	check(t, err)
	check(t, c.IoT.AttachPolicy("devices", certificate.ARN))
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	check(t, err)
	c.caFile = file(t, "ca.pem", c.IoT.RootCA())
	c.certFile = file(t, "device.crt", []byte(certificate.PEM))
	c.keyFile = file(t, "device.key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
	c.certificate, err = tls.LoadX509KeyPair(c.certFile, c.keyFile)
	check(t, err)
	c.roots = x509.NewCertPool()
	c.roots.AppendCertsFromPEM(c.IoT.RootCA())
	c.createRule(t)
	return c
}

func (c *cloud) createRule(t *testing.T) {
	t.Helper()
	role, err := c.IAM.CreateRole(iam.RoleInput{Name: "lwtRuleRole", TrustPolicy: `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Principal":{"Service":"iot.amazonaws.com"},"Action":"sts:AssumeRole"}]}`})
	check(t, err)
	check(t, c.IAM.PutRolePolicy(role.Name, "actions", `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":"iot:Publish","Resource":"`+localaws.Account.ARN("iot", "topic/"+names.ExecutedTopic)+`"}]}`))
	_, err = c.IoT.CreateTopicRule(names.Rule, iot.TopicRulePayload{
		SQL: will.SQL(names.WillTopic), AwsIotSQLVersion: will.SQLVersion,
		Actions: []iot.Action{{Republish: &iot.RepublishAction{RoleARN: role.ARN, Topic: names.ExecutedTopic}}},
	}, nil)
	check(t, err)
}

// observe takes down what happened to whom; a will and its copy name their device.
func (c *cloud) observe(e iot.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	of := e.ClientID
	if e.Message != nil {
		of = deviceIn(string(e.Message.Payload))
	}
	h := c.history(of)
	switch {
	case e.Kind == iot.Connected:
		h.connected++
	case e.Kind == iot.Disconnected:
		h.ended = append(h.ended, e.Detail)
	case e.Kind == iot.Published && e.Message.Will:
		h.wills++
		h.qos = e.Message.QoS
	case e.Kind == iot.Published && e.Message.Topic == names.ExecutedTopic:
		h.copies++
	}
	close(c.changed)
	c.changed = make(chan struct{})
}

// history is that of a client; c.mu is held.
func (c *cloud) history(clientID string) *history {
	h, ok := c.clients[clientID]
	if !ok {
		h = &history{}
		c.clients[clientID] = h
	}
	return h
}

// await waits until something is true of a client's history and returns it.
func (c *cloud) await(t *testing.T, clientID, what string, ok func(history) bool) history {
	t.Helper()
	giveUp := time.After(patience)
	for {
		c.mu.Lock()
		now, changed := *c.history(clientID), c.changed
		c.mu.Unlock()
		if ok(now) {
			return now
		}
		select {
		case <-changed:
		case <-giveUp:
			t.Fatalf("%s did not happen: %+v", what, now)
		}
	}
}

func (c *cloud) kill(t *testing.T, clientID string, preventWill bool) {
	t.Helper()
	client := iotdataplane.New(iotdataplane.Options{Region: localaws.Account.Region, BaseEndpoint: aws.String(c.URL()), Credentials: c.credentials})
	_, err := client.DeleteConnection(t.Context(), &iotdataplane.DeleteConnectionInput{ClientId: &clientID, PreventWillMessage: preventWill})
	check(t, err)
}

// device is the configuration of our own device.
func (c *cloud) device(of willOf, transport device.Transport, mqtt5 bool) device.Config {
	cfg := device.Config{
		Endpoint: c.IoT.Address(), Roots: c.roots, Certificate: c.certificate, ClientID: of.clientID, MQTT5: mqtt5,
		Will: device.Message{Topic: names.WillTopic, Payload: will.Payload(of.clientID), QoS: of.qos},
		ALPN: transport == device.MTLSALPN,
	}
	if transport == device.WebSocket {
		cfg.Credentials, cfg.Region = c.credentials, localaws.Account.Region
	}
	return cfg
}

// signedURL is a WebSocket's, signed with AWS's own signer.
func (c *cloud) signedURL(t *testing.T) string {
	t.Helper()
	request, err := http.NewRequest(http.MethodGet, "wss://"+c.IoT.Address()+"/mqtt", nil)
	check(t, err)
	from, err := c.credentials.Retrieve(t.Context())
	check(t, err)
	const empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	url, _, err := v4.NewSigner().PresignHTTP(t.Context(), from, request, empty, "iotdevicegateway", localaws.Account.Region, time.Now())
	check(t, err)
	return url
}

func (c *cloud) stop(t *testing.T) {
	t.Helper()
	check(t, c.Close(context.Background()))
}

// file writes a file into a folder that goes with the test.
func file(t *testing.T, name string, content []byte) string {
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
