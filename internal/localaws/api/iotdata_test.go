package api_test

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsiot "github.com/aws/aws-sdk-go-v2/service/iot"
	data "github.com/aws/aws-sdk-go-v2/service/iotdataplane"
	"github.com/aws/aws-sdk-go-v2/service/iotdataplane/types"
	mqtt "github.com/eclipse/paho.mqtt.golang"

	"lastwill/internal/await"
	"lastwill/internal/keypair"
)

// A device is an MQTT client with a certificate that may do everything.
type device struct {
	mqtt.Client
	messages chan mqtt.Message
	lost     chan error
}

func (e *endpoint) device(t testing.TB, clientID string, will bool) device {
	t.Helper()
	core := awsiot.NewFromConfig(e.config())
	name := aws.String(clientID)
	_, err := core.CreateThing(t.Context(), &awsiot.CreateThingInput{ThingName: name})
	check(t, err)
	_, err = core.CreatePolicy(t.Context(), &awsiot.CreatePolicyInput{PolicyName: name, PolicyDocument: aws.String(allowAll)})
	check(t, err)
	keys := t.TempDir()
	csr, err := keypair.Ensure(keys, clientID, true)
	check(t, err)
	c, err := core.CreateCertificateFromCsr(t.Context(), &awsiot.CreateCertificateFromCsrInput{CertificateSigningRequest: &csr, SetAsActive: true})
	check(t, err)
	_, err = core.AttachPolicy(t.Context(), &awsiot.AttachPolicyInput{PolicyName: name, Target: c.CertificateArn})
	check(t, err)
	_, err = core.AttachThingPrincipal(t.Context(), &awsiot.AttachThingPrincipalInput{ThingName: name, Principal: c.CertificateArn})
	check(t, err)
	key, err := os.ReadFile(keypair.KeyFile(keys, clientID))
	check(t, err)
	pair, err := tls.X509KeyPair([]byte(*c.CertificatePem), key)
	check(t, err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(e.IoT.RootCA())

	d := device{messages: make(chan mqtt.Message, 10), lost: make(chan error, 1)}
	options := mqtt.NewClientOptions().AddBroker("ssl://" + e.IoT.Address()).SetClientID(clientID).
		SetTLSConfig(&tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}).
		SetKeepAlive(90 * time.Second).SetAutoReconnect(false).
		SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) { d.messages <- m }).
		SetConnectionLostHandler(func(_ mqtt.Client, err error) { d.lost <- err })
	if will {
		options.SetWill("lwt/"+clientID, "gone", 1, false)
	}
	d.Client = mqtt.NewClient(options)
	wait(t, d.Connect())
	t.Cleanup(func() { d.Disconnect(0) })
	return d
}

func wait(t testing.TB, token mqtt.Token) {
	t.Helper()
	await.Value(t, token.Done(), "the broker's answer")
	check(t, token.Error())
}

func TestPublishReachesSubscribersAsItIs(t *testing.T) {
	t.Parallel()
	e := startIoT(t)
	d := e.device(t, "listener", false)
	wait(t, d.Subscribe("lwt/#", 1, nil))
	client := data.NewFromConfig(e.config())
	_, err := client.Publish(t.Context(), &data.PublishInput{Topic: aws.String("lwt/a b/ü"), Payload: []byte{0, 0xff, '{'}, Qos: 1})
	check(t, err)
	m := await.Value(t, d.messages, "the message that was published")
	if m.Topic() != "lwt/a b/ü" || string(m.Payload()) != "\x00\xff{" || m.Qos() != 1 {
		t.Errorf("the message is %q on %s, QoS %d", m.Payload(), m.Topic(), m.Qos())
	}

	_, err = client.Publish(t.Context(), &data.PublishInput{Topic: aws.String("lwt/+")})
	failsAs[*types.InvalidRequestException](t, err)
	_, err = client.Publish(t.Context(), &data.PublishInput{Topic: aws.String("lwt/a"), Qos: 2})
	failsAs[*types.InvalidRequestException](t, err)
	_, err = client.Publish(t.Context(), &data.PublishInput{Topic: aws.String("lwt/a"), UserProperties: aws.String("[]")})
	failsAs[*types.InvalidRequestException](t, err)
}

func TestRetainedMessagesAreReadAndRemoved(t *testing.T) {
	t.Parallel()
	e := startIoT(t)
	client := data.NewFromConfig(e.config())
	ctx := t.Context()
	for _, topic := range []string{"lwt/a", "lwt/b", "lwt/c"} {
		_, err := client.Publish(ctx, &data.PublishInput{Topic: &topic, Payload: []byte(topic), Qos: 1, Retain: true})
		check(t, err)
	}
	_, err := client.Publish(ctx, &data.PublishInput{Topic: aws.String("lwt/b"), Retain: true}) // an empty payload removes it
	check(t, err)

	var topics []string
	pages := data.NewListRetainedMessagesPaginator(client, &data.ListRetainedMessagesInput{MaxResults: aws.Int32(1)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		check(t, err)
		for _, s := range page.RetainedTopics {
			topics = append(topics, *s.Topic)
		}
	}
	if len(topics) != 2 || topics[0] != "lwt/a" || topics[1] != "lwt/c" {
		t.Errorf("retained are %v", topics)
	}
}

func TestConnectionIsKnownWhileAndAfterItIsThere(t *testing.T) {
	t.Parallel()
	e := startIoT(t)
	client := data.NewFromConfig(e.config())
	ctx := t.Context()
	id := aws.String("lwtThing")
	_, err := client.GetConnection(ctx, &data.GetConnectionInput{ClientId: id})
	failsAs[*types.ResourceNotFoundException](t, err)

	d := e.device(t, *id, false)
	wait(t, d.Subscribe("any", 0, nil)) // the CONNACK comes before the broker knows the client
	state, err := client.GetConnection(ctx, &data.GetConnectionInput{ClientId: id, IncludeSocketInformation: true})
	check(t, err)
	if !state.Connected || *state.ThingName != "lwtThing" || state.KeepAliveDuration != 90 || !state.CleanSession || *state.SourceIp != "127.0.0.1" ||
		state.ConnectedSince == 0 || state.DisconnectedSince != 0 || state.DisconnectReason != nil {
		t.Errorf("the connection is %+v", state)
	}

	_, err = client.DeleteConnection(ctx, &data.DeleteConnectionInput{ClientId: id})
	check(t, err)
	await.Value(t, d.lost, "the end of the connection of "+*id)
	state, err = client.GetConnection(ctx, &data.GetConnectionInput{ClientId: id})
	check(t, err)
	if state.Connected || *state.DisconnectReason != "API_INITIATED_DISCONNECT" || state.DisconnectedSince == 0 || state.ConnectedSince != 0 || state.SourceIp != nil {
		t.Errorf("after its end the connection is %+v", state)
	}
	_, err = client.DeleteConnection(ctx, &data.DeleteConnectionInput{ClientId: id})
	failsAs[*types.ResourceNotFoundException](t, err)
}

func TestDeleteConnectionPublishesTheWillUnlessPrevented(t *testing.T) {
	t.Parallel()
	e := startIoT(t)
	listener := e.device(t, "listener", false)
	wait(t, listener.Subscribe("lwt/#", 1, nil))
	client := data.NewFromConfig(e.config())
	for _, id := range []string{"quiet", "loud"} {
		d := e.device(t, id, true)
		_, err := client.DeleteConnection(t.Context(), &data.DeleteConnectionInput{ClientId: &id, PreventWillMessage: id == "quiet"})
		check(t, err)
		await.Value(t, d.lost, "the end of the connection of "+id)
	}
	if m := await.Value(t, listener.messages, "the will of the client that was ended"); m.Topic() != "lwt/loud" || string(m.Payload()) != "gone" {
		t.Errorf("the first message is %q on %s", m.Payload(), m.Topic())
	}
}
