package api

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"lastwill/internal/localaws/awsapi"
)

// Bodies that come in chunks (S3 API reference, "Authenticating Requests:
// transferring payload in multiple chunks" and "... including trailing headers").
const (
	streamingSigned         = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
	streamingSignedTrailer  = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
	streamingUnsignedTrail  = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
	maxChunkLine            = 4 << 10
	maxTrailers             = 10
	emptySHA256             = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	chunkSignatureParameter = "chunk-signature="
)

// verifyBody makes the request's body fail where it is not what was signed.
func verifyBody(r *http.Request, s *signature, key []byte, payload string) error {
	switch {
	case payload == unsignedPayload:
		return nil
	case strings.HasPrefix(payload, "STREAMING-"):
		if !slices.Contains([]string{streamingSigned, streamingSignedTrailer, streamingUnsignedTrail}, payload) {
			return awsapi.Errorf("InvalidRequest", "x-amz-content-sha256 %q is not supported here", payload)
		}
		c := &chunks{in: bufio.NewReaderSize(r.Body, maxChunkLine), request: r, trailing: payload != streamingSigned}
		if payload != streamingUnsignedTrail {
			c.chain = &chain{signature: s, key: key, last: s.value}
		}
		r.Body = body{c, r.Body}
		return nil
	}
	r.Body = body{&hashed{in: r.Body, hash: sha256.New(), want: payload}, r.Body}
	return nil
}

type body struct {
	io.Reader
	io.Closer
}

// hashed reads a body whose hash was signed.
type hashed struct {
	in   io.Reader
	hash hash.Hash
	want string
}

func (h *hashed) Read(p []byte) (int, error) {
	n, err := h.in.Read(p)
	h.hash.Write(p[:n])
	if errors.Is(err, io.EOF) && !hmac.Equal([]byte(hex.EncodeToString(h.hash.Sum(nil))), []byte(h.want)) {
		return n, errPayload
	}
	return n, err
}

// chunks reads an aws-chunked body: each chunk after its length, perhaps with a
// signature; the last is empty and trailers may follow it.
type chunks struct {
	in       *bufio.Reader
	request  *http.Request
	trailing bool
	chain    *chain // nil: chunks are not signed

	left  int64 // of the chunk at hand
	begun bool
	done  bool
}

func (c *chunks) Read(p []byte) (int, error) {
	for c.left == 0 {
		if c.done {
			return 0, io.EOF
		}
		if err := c.next(); err != nil {
			return 0, err
		}
	}
	n, err := c.in.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	if c.chain != nil {
		c.chain.write(p[:n])
	}
	if errors.Is(err, io.EOF) {
		err = malformedChunk("the body ends within a chunk")
	}
	return n, err
}

// next ends the chunk at hand and begins another.
func (c *chunks) next() error {
	if c.begun {
		if line, err := c.line(); err != nil || line != "" {
			return errors.Join(err, malformedChunk("a chunk is longer than it says"))
		}
		if err := c.chain.check(); err != nil {
			return err
		}
	}
	c.begun = true
	line, err := c.line()
	if err != nil {
		return err
	}
	size, extension, _ := strings.Cut(line, ";")
	if c.left, err = strconv.ParseInt(size, 16, 63); err != nil || c.left < 0 {
		c.left = 0
		return malformedChunk(fmt.Sprintf("%.20q is no chunk size", size))
	}
	c.chain.begin(extension)
	if c.left > 0 {
		return nil
	}
	c.done = true
	if err := c.chain.check(); err != nil {
		return err
	}
	return c.trailers()
}

// trailers puts what follows the last chunk where it would have been, had it
// been known before: into the headers.
func (c *chunks) trailers() error {
	if !c.trailing {
		return nil
	}
	announced := strings.ToLower(c.request.Header.Get("X-Amz-Trailer"))
	var signed strings.Builder
	for range maxTrailers {
		line, err := c.line()
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			return err
		}
		if line == "" {
			return c.chain.checkTrailer(signed.String(), c.request.Header.Get("X-Amz-Trailer-Signature"))
		}
		name, value, _ := strings.Cut(line, ":")
		name, value = strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(value)
		if name != "x-amz-trailer-signature" {
			if name != announced {
				return malformedChunk(fmt.Sprintf("trailer %.80q is not announced in x-amz-trailer", name))
			}
			signed.WriteString(name + ":" + value + "\n")
		}
		c.request.Header.Set(name, value)
	}
	return malformedChunk(fmt.Sprintf("the body has more than %d trailers", maxTrailers))
}

// line reads a line that ends with CRLF.
func (c *chunks) line() (string, error) {
	line, err := c.in.ReadSlice('\n')
	if errors.Is(err, io.EOF) {
		return strings.TrimSpace(string(line)), io.ErrUnexpectedEOF
	}
	if err != nil {
		return "", errors.Join(malformedChunk("a line between chunks is too long"), err)
	}
	return string(bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))), nil
}

func malformedChunk(reason string) error {
	return awsapi.Errorf("IncompleteBody", "the aws-chunked body is malformed: %s", reason)
}

// A chain of chunk signatures: each covers the one before.
type chain struct {
	signature *signature
	key       []byte
	last      string // signature of the chunk before
	want      string // signature of the chunk at hand
	hash      hash.Hash
}

func (c *chain) begin(extension string) {
	if c == nil {
		return
	}
	c.want, c.hash = strings.TrimPrefix(extension, chunkSignatureParameter), sha256.New()
}

func (c *chain) write(b []byte) { c.hash.Write(b) }

func (c *chain) check() error {
	if c == nil {
		return nil
	}
	return c.verify(algorithm+"-PAYLOAD", emptySHA256+"\n"+hex.EncodeToString(c.hash.Sum(nil)), c.want)
}

func (c *chain) checkTrailer(trailer, want string) error {
	if c == nil {
		return nil
	}
	return c.verify("AWS4-HMAC-SHA256-TRAILER", hexSHA256([]byte(trailer)), want)
}

func (c *chain) verify(kind, content, want string) error {
	toSign := strings.Join([]string{kind, c.signature.time.Format(timeFormat), c.signature.scope(), c.last, content}, "\n")
	if !hmac.Equal([]byte(want), []byte(hex.EncodeToString(mac(c.key, toSign)))) {
		return errMismatch
	}
	c.last = want
	return nil
}
