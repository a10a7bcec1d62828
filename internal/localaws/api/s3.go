package api

import (
	"encoding/xml"
	"net/http"
	"net/url"

	"github.com/johannesboyne/gofakes3"

	"lastwill/internal/localaws/awsapi"
	"lastwill/internal/localaws/s3"
)

// maxObject is the largest object that is taken.
const maxObject = 64 << 20

// s3Codes are S3's own names for errors of signatures (S3 API reference, "Error
// responses").
var s3Codes = map[string]string{
	"InvalidClientTokenId":       "InvalidAccessKeyId",
	"MissingAuthenticationToken": "AccessDenied",
	"RequestEntityTooLarge":      "EntityTooLarge",
}

// s3Front speaks S3's REST-XML by gofakes3, in path style and, for names below
// localhost, in virtual-host style.
type s3Front struct{ handler http.Handler }

func newS3Front(objects *s3.Service) front {
	return s3Front{gofakes3.New(objects, gofakes3.WithHostBucketBase("s3.localhost", "localhost"),
		gofakes3.WithTimeSkewLimit(0), // the signature is checked already
		gofakes3.WithoutVersioning()).Server()}
}

func (s3Front) limit() int64             { return maxObject }
func (s3Front) codes() map[string]string { return s3Codes }

func (f s3Front) serve(w http.ResponseWriter, c *call) error {
	r := c.Request
	query := r.URL.Query()
	switch {
	case r.Method == http.MethodGet && query.Has("encryption"):
		writeXML(w, c, http.StatusOK, encryption())
		return nil
	case unsupported(query) != "":
		return notHere("s3", "the subresource "+unsupported(query))
	}
	if plain := r.Header.Get("X-Amz-Decoded-Content-Length"); plain != "" {
		// The body that the signature's check left has no chunks any more.
		r.Header.Set("Content-Length", plain)
		r.Header.Set("X-Amz-Content-Sha256", unsignedPayload)
	}
	if host, err := url.Parse("http://" + r.Host); err == nil {
		r.Host = host.Hostname()
	}
	f.handler.ServeHTTP(w, r)
	return nil
}

// unsupported names a subresource that gofakes3 would take for a plain request.
func unsupported(query url.Values) string {
	for _, name := range []string{
		"acl", "analytics", "cors", "inventory", "lifecycle", "logging", "metrics", "notification", "object-lock",
		"ownershipControls", "policy", "policyStatus", "publicAccessBlock", "replication", "requestPayment", "tagging", "website",
	} {
		if query.Has(name) {
			return name
		}
	}
	return ""
}

// encryption is what GetBucketEncryption says of every bucket (API reference;
// SSE-S3 is what a new bucket has).
func encryption() any {
	var out struct {
		XMLName   xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ServerSideEncryptionConfiguration"`
		Algorithm string   `xml:"Rule>ApplyServerSideEncryptionByDefault>SSEAlgorithm"`
	}
	out.Algorithm = "AES256"
	return out
}

func (f s3Front) fail(w http.ResponseWriter, c *call, err *awsapi.Error) {
	writeXML(w, c, err.Status, struct {
		XMLName   xml.Name `xml:"Error"`
		Code      string
		Message   string
		RequestID string `xml:"RequestId"`
	}{Code: err.Code, Message: err.Message, RequestID: c.id})
}
