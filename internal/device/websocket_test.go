package device

import (
	"context"
	"net/url"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/credentials"
)

func TestRegion(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, region, host, want string }{
		{"that of an endpoint's name", "", "example-ats.iot.eu-west-1.amazonaws.com", "eu-west-1"},
		{"in China", "", "example.ats.iot.cn-north-1.amazonaws.com.cn", "cn-north-1"},
		{"which counts more than the configuration's", "us-west-2", "example-ats.iot.eu-west-1.amazonaws.com", "eu-west-1"},
		{"the configuration's for all else", "us-west-2", "127.0.0.1", "us-west-2"},
		{"a name of the user's own has none", "", "mqtt.iot.example.com", ""},
		{"an address has none", "", "127.0.0.1", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := (Config{Region: tt.region}).region(tt.host); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// AWS IoT Core wants the session token beside the signature, not in it.
func TestSessionTokenIsNotSigned(t *testing.T) {
	t.Parallel()
	query := func(token string) url.Values {
		cfg := Config{
			Endpoint: "example-ats.iot.eu-west-1.amazonaws.com", Credentials: credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "secret", token),
		}
		signed, err := cfg.signedURL(context.Background(), cfg.Endpoint+":443")
		if err != nil {
			t.Fatal(err)
		}
		if want := "wss://" + cfg.Endpoint + "/mqtt?"; !strings.HasPrefix(signed, want) {
			t.Fatalf("%s does not begin with %s", signed, want)
		}
		u, err := url.Parse(signed)
		if err != nil {
			t.Fatal(err)
		}
		return u.Query()
	}
	const token = "a+token/with=signs"
	var with, without url.Values
	for with, without = query(token), query(""); with.Get("X-Amz-Date") != without.Get("X-Amz-Date"); { // the second has turned
		with, without = query(token), query("")
	}
	if got := with.Get("X-Amz-Security-Token"); got != token {
		t.Errorf("the token is %q, want %q", got, token)
	}
	if got, want := with.Get("X-Amz-Signature"), without.Get("X-Amz-Signature"); got != want || got == "" {
		t.Errorf("signature %q, want %q as without the token", got, want)
	}
	if got := with.Get("X-Amz-Credential"); !strings.HasSuffix(got, "/eu-west-1/iotdevicegateway/aws4_request") {
		t.Errorf("credential %q", got)
	}
}
