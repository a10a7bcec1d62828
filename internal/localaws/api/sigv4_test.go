package api_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"lastwill/internal/localaws/api"
)

// A caller makes one simple call of one protocol.
type caller struct {
	protocol string
	call     func(context.Context, aws.Config) error
	// unsigned, unknownKey and expired are the protocol's own codes.
	unsigned, unknownKey, expired string
}

var callers = []caller{
	{"query", func(ctx context.Context, c aws.Config) error {
		_, err := sts.NewFromConfig(c).GetCallerIdentity(ctx, nil)
		return err
	}, "MissingAuthenticationToken", "InvalidClientTokenId", "ExpiredToken"},
	{"JSON 1.1", func(ctx context.Context, c aws.Config) error {
		_, err := cloudwatchlogs.NewFromConfig(c).DescribeLogGroups(ctx, &cloudwatchlogs.DescribeLogGroupsInput{LogGroupNamePrefix: aws.String("/none")})
		return err
	}, "MissingAuthenticationToken", "UnrecognizedClientException", "ExpiredTokenException"},
	{"REST-XML", func(ctx context.Context, c aws.Config) error {
		_, err := s3.NewFromConfig(c).ListBuckets(ctx, nil)
		return err
	}, "AccessDenied", "InvalidAccessKeyId", "ExpiredToken"},
}

// everyProtocol runs a test for each protocol.
func everyProtocol(t *testing.T, test func(*testing.T, caller)) {
	for _, c := range callers {
		t.Run(c.protocol, func(t *testing.T) {
			t.Parallel()
			test(t, c)
		})
	}
}

func TestGoodSignatureIsTaken(t *testing.T) {
	t.Parallel()
	e := start(t)
	everyProtocol(t, func(t *testing.T, c caller) { check(t, c.call(t.Context(), e.config())) })
}

func TestBadSignatureIsRefused(t *testing.T) {
	t.Parallel()
	e := start(t)
	e.role(t, "deployer", trustsAccount)
	mismatch := func(caller) string { return "SignatureDoesNotMatch" }
	incomplete := func(caller) string { return "IncompleteSignature" }
	unknownKey := func(c caller) string { return c.unknownKey }
	unsigned := func(c caller) string { return c.unsigned }
	for _, test := range []struct {
		claim  string
		change func(*aws.Config)
		code   func(caller) string
		status int
	}{
		{"with the wrong secret", func(c *aws.Config) { c.Credentials = keys(api.TestAccessKeyID, "wrong", "") }, mismatch, 403},
		{"with an unknown key", func(c *aws.Config) { c.Credentials = keys("AKIAIOSFODNN7EXAMPLE", api.TestSecretAccessKey, "") }, unknownKey, 403},
		{"with a token that nobody gave out", func(c *aws.Config) { c.Credentials = keys("ASIAIOSFODNN7EXAMPLE", "secret", "token.proof") }, unknownKey, 403},
		{"without any", func(c *aws.Config) { c.Credentials = aws.AnonymousCredentials{} }, unsigned, 403},
		{"for another region", func(c *aws.Config) { c.Region = "eu-central-1" }, mismatch, 403},
		{"when a header has changed on the way", onTheWay(func(r *http.Request) { r.Header.Add("Amz-Sdk-Invocation-Id", "another") }), mismatch, 403},
		{"when the query has changed on the way", onTheWay(func(r *http.Request) { r.URL.RawQuery += "&more=1" }), mismatch, 403},
		{"when the header is cut short", onTheWay(func(r *http.Request) {
			before, _, _ := strings.Cut(r.Header.Get("Authorization"), "Signature=")
			r.Header.Set("Authorization", before)
		}), incomplete, 400},
	} {
		t.Run(test.claim, func(t *testing.T) {
			t.Parallel()
			everyProtocol(t, func(t *testing.T, c caller) {
				err := c.call(t.Context(), e.config(test.change))
				fails(t, err, test.code(c))
				if got := status(err); got != test.status {
					t.Errorf("the status is %d, not %d", got, test.status)
				}
			})
		})
	}
}

// onTheWay changes requests after they were signed.
func onTheWay(change func(*http.Request)) func(*aws.Config) {
	return func(c *aws.Config) {
		c.HTTPClient = client(func(r *http.Request) (*http.Response, error) {
			change(r)
			return http.DefaultClient.Do(r)
		})
	}
}

type client func(*http.Request) (*http.Response, error)

func (c client) Do(r *http.Request) (*http.Response, error) { return c(r) }

func TestChangedBodyIsRefused(t *testing.T) {
	t.Parallel()
	e := start(t)
	swapped := onTheWay(func(r *http.Request) {
		body := strings.Replace(readAll(r.Body), "none", "nine", 1)
		r.Body = io.NopCloser(strings.NewReader(body))
	})
	_, err := cloudwatchlogs.NewFromConfig(e.config(swapped)).DescribeLogGroups(t.Context(), &cloudwatchlogs.DescribeLogGroupsInput{LogGroupNamePrefix: aws.String("/none")})
	fails(t, err, "SignatureDoesNotMatch")

	e.bucket(t)
	object := s3.PutObjectInput{Bucket: aws.String(assets), Key: aws.String("a"), Body: strings.NewReader("none")}
	_, err = s3.NewFromConfig(e.config(swapped), func(o *s3.Options) { o.UsePathStyle = true }).PutObject(t.Context(), &object)
	fails(t, err, "XAmzContentSHA256Mismatch")
}

func readAll(r io.Reader) string {
	b, err := io.ReadAll(r)
	if err != nil {
		panic(err) // it was in memory
	}
	return string(b)
}

func TestSignatureLasts15Minutes(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		claim string
		clock time.Duration // of the endpoint, ahead of the client's
		code  string
	}{
		{"taken after 14 minutes", 14 * time.Minute, ""},
		{"expired after 16 minutes", 16 * time.Minute, "RequestExpired"},
		{"taken 14 minutes too early", -14 * time.Minute, ""},
		{"refused 16 minutes too early", -16 * time.Minute, "RequestExpired"},
	} {
		t.Run(test.claim, func(t *testing.T) {
			t.Parallel()
			e := start(t)
			e.Keys.SetClock(func() time.Time { return time.Now().Add(test.clock) })
			everyProtocol(t, func(t *testing.T, c caller) {
				err := c.call(t.Context(), e.config())
				if test.code == "" {
					check(t, err)
					return
				}
				fails(t, err, test.code)
			})
		})
	}
}

func TestSessionExpires(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		claim   string
		expired bool
		clock   time.Duration // when the session is used, ahead of the client's
	}{
		{"not within its 15 minutes", false, 0},
		{"after 15 minutes", true, 2 * time.Minute},
	} {
		t.Run(test.claim, func(t *testing.T) {
			t.Parallel()
			e := start(t)
			e.Keys.SetClock(func() time.Time { return time.Now().Add(-14 * time.Minute) })
			session := e.assume(t, e.role(t, "deployer", trustsAccount))
			e.Keys.SetClock(func() time.Time { return time.Now().Add(test.clock) })
			everyProtocol(t, func(t *testing.T, c caller) {
				err := c.call(t.Context(), e.config(session))
				if !test.expired {
					check(t, err)
					return
				}
				fails(t, err, c.expired)
			})
		})
	}
}

// assume returns a configuration with credentials of a role.
func (e *endpoint) assume(t testing.TB, arn *string) func(*aws.Config) {
	t.Helper()
	out, err := sts.NewFromConfig(e.config()).AssumeRole(t.Context(), &sts.AssumeRoleInput{
		RoleArn: arn, RoleSessionName: aws.String("test"), DurationSeconds: aws.Int32(900),
	})
	check(t, err)
	return func(c *aws.Config) {
		c.Credentials = keys(*out.Credentials.AccessKeyId, *out.Credentials.SecretAccessKey, *out.Credentials.SessionToken)
	}
}

func TestPresignedRequestIsTakenUntilItExpires(t *testing.T) {
	t.Parallel()
	e := start(t)
	presigned, err := sts.NewPresignClient(sts.NewFromConfig(e.config())).PresignGetCallerIdentity(t.Context(), nil)
	check(t, err)
	get := func(url string) int {
		r, err := http.NewRequestWithContext(t.Context(), presigned.Method, url, nil)
		check(t, err)
		answer, err := http.DefaultClient.Do(r)
		check(t, err)
		check(t, answer.Body.Close())
		return answer.StatusCode
	}
	if got := get(presigned.URL); got != http.StatusOK {
		t.Errorf("the presigned request is answered %d", got)
	}
	if got := get(presigned.URL + "&X-Amz-Expires=3600"); got != http.StatusForbidden {
		t.Errorf("the presigned request with another expiry is answered %d", got)
	}
	e.Keys.SetClock(func() time.Time { return time.Now().Add(16 * time.Minute) })
	if got := get(presigned.URL); got != http.StatusBadRequest {
		t.Errorf("the expired presigned request is answered %d", got)
	}
}

// The MQTT broker takes WebSockets whose URL was signed (developer guide, "MQTT
// over WSS"), with the session token inside or outside of the signature.
func TestWebSocketURLIsVerified(t *testing.T) {
	t.Parallel()
	e := start(t)
	credentials := aws.Config{}
	e.assume(t, e.role(t, "device", trustsAccount))(&credentials)
	c, err := credentials.Credentials.Retrieve(t.Context())
	check(t, err)
	token := c.SessionToken
	sign := func(c aws.Credentials) *http.Request {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1/mqtt", nil)
		check(t, err)
		const ofNothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
		url, _, err := v4.NewSigner().PresignHTTP(t.Context(), c, r, ofNothing, "iotdevicegateway", account.Region, time.Now())
		check(t, err)
		r, err = http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
		check(t, err)
		return r
	}
	inside := sign(c)
	c.SessionToken = ""
	outside := sign(c)
	outside.URL.RawQuery += "&X-Amz-Security-Token=" + token
	c.SecretAccessKey = "wrong"
	wrong := sign(c)
	wrong.URL.RawQuery += "&X-Amz-Security-Token=" + token

	for claim, r := range map[string]*http.Request{"inside": inside, "outside": outside} {
		who, err := e.Keys.Verify(r)
		check(t, err)
		if want := "arn:aws:sts::123456789012:assumed-role/device/test"; who.ARN != want {
			t.Errorf("token %s: the caller is %s, not %s", claim, who.ARN, want)
		}
	}
	if _, err := e.Keys.Verify(wrong); err == nil {
		t.Error("a URL signed with the wrong secret is taken")
	}
}
