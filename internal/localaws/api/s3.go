package api

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // one of the checksums that S3 takes
	"crypto/sha256"
	"encoding/base64"
	"encoding/xml"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/johannesboyne/gofakes3"

	"lastwill/internal/localaws/awsapi"
	"lastwill/internal/localaws/s3"
)

// maxObject is the largest object that is taken in one piece.
const maxObject = 64 << 20

// s3Codes are S3's own names for errors of signatures (S3 API reference, "Error
// responses").
var s3Codes = map[string]string{
	errUnknownKey.Code:      "InvalidAccessKeyId",
	errUnsigned.Code:        "AccessDenied",
	"RequestEntityTooLarge": "EntityTooLarge",
	"InternalFailure":       "InternalError",
}

// hostBases are the hosts below which buckets have names of their own.
var hostBases = []string{"s3.localhost", "localhost"}

// s3Front speaks S3's REST-XML by gofakes3, in path style and, for names below
// localhost, in virtual-host style. What gofakes3 would misunderstand does not
// reach it: signatures, chunks and checksums, and whatever it does not know.
type s3Front struct {
	account awsapi.Account
	objects *s3.Service
	handler http.Handler
}

func newS3Front(s Services) front {
	return s3Front{s.Account, s.S3, gofakes3.New(
		s.S3, gofakes3.WithHostBucketBase(hostBases...),
		gofakes3.WithTimeSkewLimit(0), // the signature is checked already
		gofakes3.WithoutVersioning(),
	).Server()}
}

func (s3Front) limit() int64             { return maxObject }
func (s3Front) codes() map[string]string { return s3Codes }

func (f s3Front) serve(w http.ResponseWriter, c *call) error {
	query, err := parameters(c.URL.RawQuery)
	if err != nil {
		return err
	}
	if name := missingParameter(c.Method, query); name != "" {
		return notHere("s3", c.Method+" with "+name)
	}
	if owner := c.Header.Get("X-Amz-Expected-Bucket-Owner"); owner != "" && owner != f.account.ID {
		return forbidden("AccessDenied", "the bucket's owner is "+f.account.ID+", not "+owner)
	}
	if err := plainBody(c.Request); err != nil {
		return err
	}
	if host, _, err := net.SplitHostPort(c.Host); err == nil {
		c.Host = host
	}
	if c.Method == http.MethodGet && query.Has("encryption") {
		return f.encryption(w, c)
	}
	w.Header().Set("X-Amz-Request-Id", c.id)
	f.handler.ServeHTTP(w, c.Request)
	return nil
}

// knownParameters are those of the requests that gofakes3 answers. Others it
// would overlook.
var knownParameters = []string{
	"continuation-token", "delete", "delimiter", "encoding-type", "encryption", "fetch-owner", "list-type", "location", "marker",
	"max-keys", "partNumber", "prefix", "start-after", "uploadId", "uploads", "versioning", "x-id",
}

// missingParameter names what this endpoint does not have.
func missingParameter(method string, query url.Values) string {
	for _, name := range slices.Sorted(maps.Keys(query)) {
		if !slices.Contains(knownParameters, name) || name == "encryption" && method != http.MethodGet {
			return name
		}
	}
	if method == http.MethodPost && !query.Has("delete") && !query.Has("uploads") && !query.Has("uploadId") {
		return "a form" // it would be read into temporary files
	}
	return ""
}

// plainBody reads the body of a request and leaves it as if it had come in one
// piece. Nothing is stored of a body that is not what was signed or announced.
func plainBody(r *http.Request) error {
	content, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	if plain := r.Header.Get("X-Amz-Decoded-Content-Length"); plain != "" && plain != strconv.Itoa(len(content)) {
		return awsapi.Errorf("IncompleteBody", "the body has %d bytes, x-amz-decoded-content-length says %.20s", len(content), plain)
	}
	for name, h := range checksums() {
		if want := r.Header.Get("X-Amz-Checksum-" + name); want != "" {
			h.Write(content)
			if got := base64.StdEncoding.EncodeToString(h.Sum(nil)); got != want {
				return awsapi.Errorf("BadDigest", "The %s you specified did not match the calculated checksum.", name)
			}
		}
	}
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(content)), int64(len(content))
	r.Header.Set("Content-Length", strconv.Itoa(len(content)))
	r.Header.Set("X-Amz-Content-Sha256", unsignedPayload)
	return nil
}

// checksums that S3 knows, by the end of their header's name (S3 user guide,
// "Checking object integrity").
func checksums() map[string]hash.Hash {
	return map[string]hash.Hash{
		"Crc32":     crc32.NewIEEE(),
		"Crc32c":    crc32.New(crc32.MakeTable(crc32.Castagnoli)),
		"Crc64nvme": crc64.New(crc64.MakeTable(0x9a6c9329ac4bc9b5)),
		"Sha1":      sha1.New(), //nolint:gosec // one of the checksums that S3 takes
		"Sha256":    sha256.New(),
	}
}

// encryption answers GetBucketEncryption, which gofakes3 does not have: a bucket
// has SSE-S3 (user guide, "Default encryption").
func (f s3Front) encryption(w http.ResponseWriter, c *call) error {
	exists, err := f.objects.BucketExists(bucketOf(c.Request))
	if err != nil {
		return err
	}
	if !exists {
		return awsapi.NotFoundf("NoSuchBucket", "The specified bucket does not exist")
	}
	var out struct {
		XMLName   xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ServerSideEncryptionConfiguration"`
		Algorithm string   `xml:"Rule>ApplyServerSideEncryptionByDefault>SSEAlgorithm"`
	}
	out.Algorithm = "AES256"
	writeXML(w, c, http.StatusOK, out)
	return nil
}

// bucketOf returns the bucket in the host or, in path style, in the path.
func bucketOf(r *http.Request) string {
	for _, base := range hostBases {
		if bucket, ok := strings.CutSuffix(r.Host, "."+base); ok {
			return bucket
		}
	}
	bucket, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	return bucket
}

func (s3Front) fail(w http.ResponseWriter, c *call, err *awsapi.Error) {
	w.Header().Set("X-Amz-Request-Id", c.id)
	writeXML(w, c, err.Status, struct {
		XMLName   xml.Name `xml:"Error"`
		Code      string
		Message   string
		RequestID string `xml:"RequestId"`
	}{Code: err.Code, Message: err.Message, RequestID: c.id})
}
