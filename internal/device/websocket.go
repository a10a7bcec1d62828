package device

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/gorilla/websocket"

	"lastwill/internal/wsconn"
)

const (
	// signedService is what a signature for MQTT over WebSocket is for (developer
	// guide, "Device communication protocols", MQTT over WSS).
	signedService = "iotdevicegateway"
	// emptySHA256 is the hash of no body.
	emptySHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	// frameBytes is for the library's buffers; devices send and get small packets.
	frameBytes = 1024
)

// writeBuffers are shared: a device needs one only while it sends.
var writeBuffers sync.Pool

// upgrade makes a WebSocket connection out of a TLS connection.
func upgrade(ctx context.Context, cfg Config, secured *tls.Conn, addr string) (net.Conn, error) {
	signed, err := cfg.signedURL(ctx, addr)
	if err != nil {
		return nil, err
	}
	dialer := websocket.Dialer{
		NetDialTLSContext: func(context.Context, string, string) (net.Conn, error) { return secured, nil },
		Subprotocols:      []string{wsconn.Subprotocol},
		ReadBufferSize:    frameBytes, WriteBufferSize: frameBytes, WriteBufferPool: &writeBuffers,
	}
	keep := context.AfterFunc(ctx, func() { secured.NetConn().Close() })
	ws, answer, err := dialer.DialContext(ctx, signed, nil)
	switch {
	case !keep():
		return nil, interrupted(ctx, addr, "waiting for the answer to the WebSocket request")
	case answer != nil && err != nil:
		defer answer.Body.Close()
		return nil, webSocketRefused(addr, answer)
	case err != nil:
		return nil, webSocketFailed(ctx, addr, err)
	}
	return wsconn.New(ws), nil
}

// signedURL is the URL of the WebSocket request. A session token is added after
// the signature: AWS IoT Core does not want it signed.
func (c Config) signedURL(ctx context.Context, addr string) (string, error) {
	credentials, err := c.Credentials.Retrieve(ctx)
	if err != nil {
		return "", noCredentials(err)
	}
	host := strings.TrimSuffix(addr, fmt.Sprintf(":%d", httpsPort))
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "wss://"+host+wsconn.Path, nil)
	if err != nil {
		return "", err
	}
	token := credentials.SessionToken
	credentials.SessionToken = ""
	name, _, err := c.address()
	if err != nil {
		return "", err
	}
	signed, _, err := v4.NewSigner().PresignHTTP(ctx, credentials, request, emptySHA256, signedService, c.region(name), time.Now())
	if err != nil {
		return "", fmt.Errorf("sign the WebSocket request: %w", err)
	}
	if token != "" {
		signed += "&X-Amz-Security-Token=" + url.QueryEscape(token)
	}
	return signed, nil
}

// region is the one in a host name such as
// example-ats.iot.eu-west-1.amazonaws.com, or the configuration's.
func (c Config) region(host string) string {
	_, rest, _ := strings.Cut(host, ".iot.")
	if region, domain, _ := strings.Cut(rest, "."); strings.HasPrefix(domain, "amazonaws.com") {
		return region
	}
	return c.Region
}

// maxRefusalBytes is how much of a refusal's body is shown.
const maxRefusalBytes = 300

// refusalText is what a refused request was answered with, on one line.
func refusalText(answer *http.Response) string {
	body, _ := io.ReadAll(io.LimitReader(answer.Body, maxRefusalBytes)) // what there is of it
	return strings.TrimSpace(answer.Status + " " + strings.Join(strings.Fields(string(body)), " "))
}

// isClosedWebSocket reports a Close frame of the broker's.
func isClosedWebSocket(err error) bool {
	return errors.As(err, new(*websocket.CloseError))
}
