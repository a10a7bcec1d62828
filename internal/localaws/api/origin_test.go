package api

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestWebPagesAreRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		claim, host, header, value string
		taken                      bool
	}{
		{"the CDK CLI", "127.0.0.1:4566", "User-Agent", "aws-sdk-js/3", true},
		{"a bucket in the host", "assets.s3.localhost:4566", "", "", true},
		{"IPv6", "[::1]:4566", "", "", true},
		{"a form of another site", "127.0.0.1:4566", "Origin", "https://example.com", false},
		{"a picture of another site, whose address is an operation", "127.0.0.1:4566", "Sec-Fetch-Site", "cross-site", false},
		{"a site whose name leads here", "example.com:4566", "", "", false},
		{"a name that only looks local", "localhost.example.com", "", "", false},
	} {
		r := httptest.NewRequest(http.MethodGet, "/?Action=CreateStack", nil)
		r.Host = c.host
		if c.header != "" {
			r.Header.Set(c.header, c.value)
		}
		if err := checkOrigin(r); (err == nil) != c.taken {
			t.Errorf("%s: %v", c.claim, err)
		}
	}
}
