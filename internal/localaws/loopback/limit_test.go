package loopback_test

import (
	"bufio"
	"net"
	"net/http"
	"strings"
	"testing"

	"lastwill/internal/await"
	"lastwill/internal/localaws/loopback"
)

func dial(t *testing.T, l net.Listener) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestConnectionsBeyondTheLimitAreRefusedUntilOneEnds(t *testing.T) {
	t.Parallel()
	inner, err := loopback.Listen("")
	if err != nil {
		t.Fatal(err)
	}
	l := loopback.Limit(inner, 2)
	accepted := make(chan net.Conn)
	go func() {
		defer close(accepted)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	t.Cleanup(func() { _ = inner.Close() })

	dial(t, l)
	first := await.Value(t, accepted, "the first connection")
	dial(t, l)
	await.Value(t, accepted, "a connection")
	answer, err := http.ReadResponse(bufio.NewReader(dial(t, l)), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("the third connection is answered %s", answer.Status)
	}
	for range 2 { // closing twice gives one place back
		_ = first.Close()
	}
	dial(t, l)
	await.Value(t, accepted, "a connection")
	answer, err = http.ReadResponse(bufio.NewReader(dial(t, l)), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if !strings.HasPrefix(answer.Status, "503") {
		t.Errorf("the fourth connection is answered %s", answer.Status)
	}
}
