package localaws_test

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/gorilla/websocket"

	"lastwill/internal/device"
	"lastwill/internal/localaws"
	"lastwill/internal/localaws/iam"
	"lastwill/internal/localaws/iot"
	"lastwill/internal/will"
	"lastwill/internal/wsconn"
)

// userCredentials are those of the local account's user.
var userCredentials = credentials.NewStaticCredentialsProvider("test", "test", "")

func (c *cloud) roots() *x509.CertPool {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(c.IoT.RootCA())
	return roots
}

// webSocket is the configuration of a device that has AWS credentials.
func (c *cloud) webSocket(t testing.TB, from aws.CredentialsProvider) device.Config {
	t.Helper()
	return device.Config{Endpoint: c.IoT.Address(), Roots: c.roots(), Credentials: from, Region: localaws.Account.Region, ClientID: will.ThingName}
}

// assumed are credentials of a role's session, which have a session token.
func (c *cloud) assumed(t testing.TB) aws.CredentialsProvider {
	t.Helper()
	role, err := c.IAM.CreateRole(iam.RoleInput{Name: "watcher", TrustPolicy: `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::` + localaws.Account.ID + `:root"},"Action":"sts:AssumeRole"}]}`})
	check(t, err)
	client := sts.New(sts.Options{Region: localaws.Account.Region, BaseEndpoint: aws.String(c.URL()), Credentials: userCredentials})
	return stscreds.NewAssumeRoleProvider(client, role.ARN)
}

func TestWebSocket(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		claim string
		from  func(testing.TB, *cloud) aws.CredentialsProvider
		leave func(*device.Device) error
		wills int
	}{
		{
			"a device with a user's credentials drops: a will",
			func(testing.TB, *cloud) aws.CredentialsProvider { return userCredentials },
			func(d *device.Device) error { _, err := d.Drop(); return err }, 1,
		},
		{
			"a device with a session token drops: a will",
			func(t testing.TB, c *cloud) aws.CredentialsProvider { return c.assumed(t) },
			func(d *device.Device) error { _, err := d.Drop(); return err }, 1,
		},
		{
			"a device disconnects: none",
			func(testing.TB, *cloud) aws.CredentialsProvider { return userCredentials },
			(*device.Device).Disconnect, 0,
		},
	} {
		t.Run(c.claim, func(t *testing.T) {
			t.Parallel()
			cloud := start(t)
			cloud.deploy(t)
			cfg := cloud.webSocket(t, c.from(t, cloud))
			received := make(chan device.Message, 1)
			cfg.Receive = func(m device.Message) { received <- m }
			d := connect(t, cfg)
			check(t, d.Subscribe(deadline(t), names.ConnectedTopic))
			check(t, d.Announce(deadline(t)))
			wait(t, received, "the device is not reached")
			check(t, c.leave(d))
			cloud.disconnected(t, will.ThingName)
			if n := cloud.events.Count(isWill); n != c.wills {
				t.Errorf("%d wills, want %d", n, c.wills)
			}
			if n := cloud.events.Count(publishedOn(names.ExecutedTopic)); n != c.wills {
				t.Errorf("%d copies, want %d", n, c.wills)
			}
		})
	}
}

// AWS takes a Close frame for a DISCONNECT.
func TestCloseFrameIsNoLoss(t *testing.T) {
	t.Parallel()
	cloud := start(t)
	cloud.deploy(t)
	ws, answer, err := cloud.upgrade(t, request{})
	check(t, err)
	defer answer.Body.Close()
	conn := wsconn.New(ws)
	check(t, connectPacket("browser").Write(conn))
	cloud.events.await(t, 1, func(e iot.Event) bool { return e.Kind == iot.Connected })
	check(t, conn.Close())
	if got := cloud.disconnected(t, "browser"); got != "CLIENT_INITIATED_DISCONNECT" {
		t.Errorf("disconnect reason %s", got)
	}
	if n := cloud.events.Count(isWill); n != 0 {
		t.Errorf("%d wills", n)
	}
}

// A request is a WebSocket request; its zero value is a good one.
type request struct {
	path, subprotocol, secret, region, service string
	age                                        time.Duration
	unsigned                                   bool
	origin                                     string
}

// upgrade opens a WebSocket, or tries to.
func (c *cloud) upgrade(t testing.TB, r request) (*websocket.Conn, *http.Response, error) {
	t.Helper()
	or := func(s, otherwise string) string {
		if s == "" {
			return otherwise
		}
		return s
	}
	req, err := http.NewRequest(http.MethodGet, "wss://"+c.IoT.Address()+or(r.path, "/mqtt"), nil)
	check(t, err)
	url := req.URL.String()
	if !r.unsigned {
		from := aws.Credentials{AccessKeyID: "test", SecretAccessKey: or(r.secret, "test")}
		empty := "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
		url, _, err = v4.NewSigner().PresignHTTP(t.Context(), from, req, empty, or(r.service, "iotdevicegateway"), or(r.region, localaws.Account.Region), time.Now().Add(-r.age))
		check(t, err)
	}
	header := http.Header{}
	if r.origin != "" {
		header.Set("Origin", r.origin)
	}
	dialer := websocket.Dialer{
		TLSClientConfig: &tls.Config{RootCAs: c.roots()}, Subprotocols: []string{or(r.subprotocol, "mqtt")},
	}
	return dialer.DialContext(deadline(t), url, header)
}

func TestRefusedWebSockets(t *testing.T) {
	t.Parallel()
	cloud := start(t)
	cloud.deploy(t)
	for _, c := range []struct {
		claim   string
		request request
		status  int
		body    string
	}{
		{"another path", request{path: "/"}, http.StatusNotFound, "MQTT over WebSocket is at /mqtt"},
		{"no subprotocol mqtt", request{subprotocol: "chat"}, http.StatusBadRequest, `must name the subprotocol "mqtt"`},
		{"no signature", request{unsigned: true}, http.StatusForbidden, "has no AWS signature"},
		{"another secret key", request{secret: "wrong"}, http.StatusForbidden, "does not match"},
		{"another region", request{region: "eu-west-1"}, http.StatusForbidden, "valid region"},
		{"another service", request{service: "execute-api"}, http.StatusForbidden, "correct service"},
		{"an old signature", request{age: time.Hour}, http.StatusForbidden, "Signature expired"},
		{"a page of somebody else's", request{origin: "https://example.com"}, http.StatusForbidden, "Forbidden"},
	} {
		t.Run(c.claim, func(t *testing.T) {
			ws, answer, err := cloud.upgrade(t, c.request)
			if err == nil {
				_ = ws.Close()
			}
			if answer == nil {
				t.Fatal(err)
			}
			defer answer.Body.Close()
			body, err := io.ReadAll(answer.Body)
			check(t, err)
			if answer.StatusCode != c.status || !strings.Contains(string(body), c.body) {
				t.Errorf("answer %s: %s; want %d and %q", answer.Status, body, c.status, c.body)
			}
		})
	}
}
