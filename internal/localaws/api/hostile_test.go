package api_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"lastwill/internal/localaws/api"
	local "lastwill/internal/localaws/s3"
)

// A request as somebody sends it who has no SDK.
type request struct {
	service, method, target string
	header                  map[string]string
	body                    io.Reader
	length                  int64
	payload                 string // what is signed of the body; empty: its hash
}

func (e *endpoint) send(t testing.TB, in request) (int, string) {
	t.Helper()
	if in.payload == "" {
		body := readAll(in.body)
		sum := sha256.Sum256([]byte(body))
		in.payload, in.body, in.length = hex.EncodeToString(sum[:]), strings.NewReader(body), int64(len(body))
	}
	r, err := http.NewRequestWithContext(t.Context(), in.method, e.url+in.target, in.body)
	check(t, err)
	r.ContentLength = in.length
	r.Header.Set("X-Amz-Content-Sha256", in.payload)
	for name, value := range in.header {
		r.Header.Set(name, value)
	}
	credentials := aws.Credentials{AccessKeyID: api.TestAccessKeyID, SecretAccessKey: api.TestSecretAccessKey}
	check(t, v4.NewSigner().SignHTTP(t.Context(), credentials, r, in.payload, in.service, account.Region, time.Now(), func(o *v4.SignerOptions) {
		o.DisableURIPathEscaping = in.service == "s3"
	}))
	answer, err := http.DefaultTransport.RoundTrip(r)
	check(t, err)
	defer answer.Body.Close()
	return answer.StatusCode, readAll(answer.Body)
}

// zeros is an endless body.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func TestHostileRequestIsRefused(t *testing.T) {
	t.Parallel()
	e := start(t)
	e.bucket(t)
	form := map[string]string{"Content-Type": "application/x-www-form-urlencoded"}
	target := map[string]string{"X-Amz-Target": "AmazonSSM.GetParameter"}
	huge := int64(100 << 20)
	unsigned := "UNSIGNED-PAYLOAD"
	const bomb = `<!DOCTYPE b [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><Delete><Object><Key>&b;</Key></Object></Delete>`
	for _, test := range []struct {
		claim  string
		in     request
		status int
		answer string
	}{
		{"100 MB of a form", request{"sts", "POST", "/", form, zeros{}, huge, unsigned}, 413, "<Code>RequestEntityTooLarge</Code>"},
		{"100 MB of JSON", request{"ssm", "POST", "/", target, zeros{}, huge, unsigned}, 413, `"RequestEntityTooLarge"`},
		{"100 MB of an object", request{"s3", "PUT", "/" + assets + "/a", nil, zeros{}, huge, unsigned}, 413, "<Code>EntityTooLarge</Code>"},
		{"a body without an end", request{"ssm", "POST", "/", target, zeros{}, -1, unsigned}, 413, `"RequestEntityTooLarge"`},
		{"an object without an end", request{"s3", "PUT", "/" + assets + "/a", nil, zeros{}, -1, unsigned}, 413, "<Code>EntityTooLarge</Code>"},
		{
			"JSON that nests deep",
			request{"ssm", "POST", "/", target, strings.NewReader(strings.Repeat("[", 1<<20)), 0, ""},
			400, "nests deeper than 64 levels",
		},
		{
			"a form with many parameters",
			request{"sts", "POST", "/", form, strings.NewReader("Action=GetCallerIdentity" + strings.Repeat("&a=1", 1<<16)), 0, ""},
			400, "at most 2000 are allowed",
		},
		{
			"an object that says it has an exabyte", request{
				"s3", "PUT", "/" + assets + "/a",
				map[string]string{"X-Amz-Decoded-Content-Length": "1152921504606846976"},
				strings.NewReader("0\r\n\r\n"), 5, "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
			}, 400, "<Code>IncompleteBody</Code>",
		},
		{
			"a chunk with a size below zero", request{
				"s3", "PUT", "/" + assets + "/a", nil, strings.NewReader("-1\r\n\r\n"), 6, "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
			}, 400, "<Code>IncompleteBody</Code>",
		},
		{
			"a chunk line without an end", request{
				"s3", "PUT", "/" + assets + "/a", nil, strings.NewReader(strings.Repeat("1", 1<<20)), 1 << 20, "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
			}, 400, "<Code>IncompleteBody</Code>",
		},
		{
			"a trailer that is a header", request{
				"s3", "PUT", "/" + assets + "/a", nil, strings.NewReader("0\r\nx-amz-copy-source:/b/c\r\n\r\n"), 29, "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
			}, 400, "<Code>IncompleteBody</Code>",
		},
		{"an XML bomb", request{"s3", "POST", "/" + assets + "?delete", nil, strings.NewReader(bomb), 0, ""}, 400, "<Code>MalformedXML</Code>"},
		{
			"a form for S3, which would be read into temporary files", request{
				"s3", "POST", "/" + assets, map[string]string{"Content-Type": "multipart/form-data; boundary=b"}, strings.NewReader("--b--"), 0, "",
			}, 501, "<Code>NotImplemented</Code>",
		},
		{"a bucket with a path for its name", request{"s3", "PUT", "/..%2f..%2fetc", nil, strings.NewReader(""), 0, ""}, 404, "<Code>NoSuchBucket</Code>"},
	} {
		t.Run(test.claim, func(t *testing.T) {
			t.Parallel()
			if got, answer := e.send(t, test.in); got != test.status || !strings.Contains(answer, test.answer) {
				t.Errorf("the answer is %d: %s", got, answer)
			}
		})
	}
}

func TestKeysLeadNowhere(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	objects, err := local.New(filepath.Join(dir, "objects"))
	check(t, err)
	e := start(t, func(s *api.Services) { s.S3 = objects })
	client := e.bucket(t)
	for _, key := range []string{"../../evil", "/etc/evil", "..", ".", "a/../../../evil", "..\\..\\evil", "evil\x00"} {
		put(t, client, key, "content")
		if got := get(t, client, key); got != "content" {
			t.Errorf("the object %q is %q", key, got)
		}
	}
	check(t, filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && (filepath.Dir(path) != filepath.Join(dir, "objects") || len(entry.Name()) != len("4d6f6e64-6179-4d6f-6e64-61794d6f6e64")) {
			t.Errorf("there is a file %s", path)
		}
		return err
	}))
}

func TestAbandonedUploadsGiveWay(t *testing.T) {
	t.Parallel()
	e := start(t)
	client := e.bucket(t)
	first, err := client.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: aws.String(assets), Key: aws.String("first")})
	check(t, err)
	part := func(id *string, key string, number int32) error {
		_, err := client.UploadPart(t.Context(), &s3.UploadPartInput{
			Bucket: aws.String(assets), Key: &key, UploadId: id, PartNumber: &number, Body: strings.NewReader("part"),
		})
		return err
	}
	check(t, part(first.UploadId, "first", 1))
	for i := range 1000 {
		_, err := e.S3.CreateMultipartUpload(assets, fmt.Sprint(i), nil)
		check(t, err)
	}
	fails(t, part(first.UploadId, "first", 2), "NoSuchUpload")
}

// slow gives a byte, and then waits until the test is over.
type slow struct {
	given bool
	end   <-chan struct{}
}

func (s *slow) Read(p []byte) (int, error) {
	if !s.given {
		s.given, p[0] = true, '{'
		return 1, nil
	}
	<-s.end
	return 0, io.EOF
}

func TestSlowClientsDoNotStopOthers(t *testing.T) {
	t.Parallel()
	e := start(t)
	for range 100 {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, e.url, &slow{end: t.Context().Done()})
		check(t, err)
		r.ContentLength = 1000
		go func() {
			if answer, err := http.DefaultTransport.RoundTrip(r); err == nil {
				_ = answer.Body.Close()
			}
		}()
	}
	for _, c := range callers {
		check(t, c.call(t.Context(), e.config()))
	}
}
