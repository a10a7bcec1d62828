package api

import (
	"bytes"
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"lastwill/internal/localaws/awsapi"
)

// Names and limits of AWS Signature Version 4 (IAM user guide, "Create a signed
// AWS API request" and "Elements of an AWS API request signature").
const (
	algorithm       = "AWS4-HMAC-SHA256"
	terminator      = "aws4_request"
	timeFormat      = "20060102T150405Z"
	maxSkew         = 15 * time.Minute
	maxExpires      = 7 * 24 * time.Hour
	unsignedPayload = "UNSIGNED-PAYLOAD"
)

// What a signature can be refused with. Codes and statuses are those of the
// Common Errors page of AWS's API references.
var (
	errUnsigned     = forbidden("MissingAuthenticationToken", "the request has no AWS signature: sign it with the credentials that lwt local env prints")
	errUnknownKey   = forbidden("InvalidClientTokenId", "The security token included in the request is invalid.")
	errTokenExpired = forbidden("ExpiredToken", "The security token included in the request is expired.")
	errMismatch     = forbidden("SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method.")
	errPayload      = awsapi.Errorf("XAmzContentSHA256Mismatch", "The provided 'x-amz-content-sha256' header does not match what was computed.")
)

func forbidden(code, message string) *awsapi.Error {
	return &awsapi.Error{Code: code, Status: http.StatusForbidden, Message: message}
}

func incomplete(format string, args ...any) error {
	return awsapi.Errorf("IncompleteSignature", format, args...)
}

// A signature as a request carries it, in its header or its query.
type signature struct {
	accessKeyID, day, region, service string
	token                             string
	headers                           []string // that are signed
	value                             string
	time                              time.Time
	presigned                         bool
	expires                           time.Duration // of a presigned request
}

func (s *signature) scope() string {
	return s.day + "/" + s.region + "/" + s.service + "/" + terminator
}

// webSocketService is what IoT's WebSocket requests are signed for.
const webSocketService = "iotdevicegateway"

// VerifyWebSocket is Verify for a request for MQTT over WebSocket (developer
// guide, "MQTT over WSS"). It has the session token outside of the signature;
// inside is taken, too.
func (k *Keys) VerifyWebSocket(r *http.Request) (Caller, error) {
	if scope := scopeOf(r); scope != "" && scope != webSocketService {
		return Caller{}, forbidden("SignatureDoesNotMatch", "Credential should be scoped to correct service: '"+webSocketService+"'.")
	}
	return k.Verify(r)
}

// Verify checks the signature of a request and returns who made it. The body
// that it leaves in the request has no aws-chunked encoding, and reading it
// fails where it is not what was signed.
func (k *Keys) Verify(r *http.Request) (Caller, error) {
	s, err := readSignature(r)
	if err != nil {
		return Caller{}, err
	}
	caller, secret, err := k.find(s.accessKeyID, s.token)
	if err != nil {
		return Caller{}, err
	}
	if err := k.checkScope(s); err != nil {
		return Caller{}, err
	}
	payload, err := declaredPayload(r, s)
	if err != nil {
		return Caller{}, err
	}
	key := s.key(secret)
	matches := s.matches(key, canonicalRequest(r, s, payload, true))
	if !matches && s.service == webSocketService {
		matches = s.matches(key, canonicalRequest(r, s, payload, false))
	}
	if !matches {
		return Caller{}, errMismatch
	}
	return caller, verifyBody(r, s, key, payload)
}

func readSignature(r *http.Request) (*signature, error) {
	query := r.URL.Query()
	var s *signature
	var err error
	switch header := r.Header.Get("Authorization"); {
	case header != "":
		s, err = fromHeader(header, r.Header)
	case query.Has("X-Amz-Algorithm") || query.Has("X-Amz-Signature"):
		s, err = fromQuery(query)
	default:
		return nil, errUnsigned
	}
	if err != nil {
		return nil, err
	}
	if !slices.Contains(s.headers, "host") {
		return nil, incomplete("'Host' must be a 'SignedHeader' in the AWS Authorization.")
	}
	return s, nil
}

func fromHeader(header string, all http.Header) (*signature, error) {
	fields, ok := strings.CutPrefix(header, algorithm+" ")
	if !ok {
		return nil, incomplete("Unsupported AWS 'algorithm': it must be %s", algorithm)
	}
	values := map[string]string{}
	for field := range strings.SplitSeq(fields, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(field), "=")
		values[name] = value
	}
	s := &signature{value: values["Signature"], headers: strings.Split(values["SignedHeaders"], ";"), token: all.Get("X-Amz-Security-Token")}
	if s.value == "" {
		return nil, incomplete("Authorization header requires 'Signature' parameter.")
	}
	date := cmp.Or(all.Get("X-Amz-Date"), all.Get("Date"))
	return s, errors.Join(s.setCredential(values["Credential"]), s.setTime(date))
}

func fromQuery(query url.Values) (*signature, error) {
	if got := query.Get("X-Amz-Algorithm"); got != algorithm {
		return nil, incomplete("X-Amz-Algorithm %q is not supported: it must be %s", got, algorithm)
	}
	s := &signature{
		presigned: true, value: query.Get("X-Amz-Signature"), token: query.Get("X-Amz-Security-Token"),
		headers: strings.Split(query.Get("X-Amz-SignedHeaders"), ";"),
	}
	if s.value == "" {
		return nil, incomplete("AWS query-string parameters must include 'X-Amz-Signature'.")
	}
	s.expires = maxSkew // for services that do without the parameter
	if text := query.Get("X-Amz-Expires"); text != "" {
		seconds, err := strconv.Atoi(text)
		if err != nil || seconds < 1 || seconds > int(maxExpires.Seconds()) {
			return nil, awsapi.Errorf("AuthorizationQueryParametersError", "X-Amz-Expires %q must be a number of seconds from 1 to %d", text, int(maxExpires.Seconds()))
		}
		s.expires = time.Duration(seconds) * time.Second
	}
	return s, errors.Join(s.setCredential(query.Get("X-Amz-Credential")), s.setTime(query.Get("X-Amz-Date")))
}

// setCredential reads KEY/DAY/REGION/SERVICE/aws4_request.
func (s *signature) setCredential(credential string) error {
	parts := strings.Split(credential, "/")
	if len(parts) != 5 || parts[4] != terminator || slices.Contains(parts, "") {
		return incomplete("Credential %q must have the form KEY/DATE/REGION/SERVICE/%s", credential, terminator)
	}
	s.accessKeyID, s.day, s.region, s.service = parts[0], parts[1], parts[2], parts[3]
	return nil
}

func (s *signature) setTime(date string) (err error) {
	if s.time, err = time.Parse(timeFormat, date); err != nil {
		return incomplete("Date must be in ISO-8601 'basic format'. Got %q", date)
	}
	return nil
}

// checkScope refuses a signature of another time or region.
func (k *Keys) checkScope(s *signature) error {
	now := k.now()
	lasts := maxSkew
	if s.presigned {
		lasts = s.expires
	}
	switch {
	case now.After(s.time.Add(lasts)):
		return awsapi.Errorf("RequestExpired", "Signature expired: %s is now earlier than %s", s.time.Format(timeFormat), now.UTC().Add(-lasts).Format(timeFormat))
	case now.Before(s.time.Add(-maxSkew)):
		return awsapi.Errorf("RequestExpired", "Signature not yet current: %s is still later than %s", s.time.Format(timeFormat), now.UTC().Add(maxSkew).Format(timeFormat))
	case s.day != s.time.Format("20060102"):
		return forbidden("SignatureDoesNotMatch", "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP")
	case s.region != k.account.Region:
		return forbidden("SignatureDoesNotMatch", "Credential should be scoped to a valid region, not '"+s.region+"': this endpoint is in "+k.account.Region+", set AWS_REGION")
	}
	return nil
}

// declaredPayload is what the signature says of the body: its hash, or a word
// for how it comes. A body without either is read to hash it.
func declaredPayload(r *http.Request, s *signature) (string, error) {
	if declared := r.Header.Get("X-Amz-Content-Sha256"); declared != "" {
		return declared, nil
	}
	if s.presigned && s.service == "s3" {
		return unsignedPayload, nil
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return "", err
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	return hexSHA256(body), nil
}

// canonicalRequest is what was signed. The token is left out of a query where
// the signer added it afterwards.
func canonicalRequest(r *http.Request, s *signature, payload string, withToken bool) string {
	var b strings.Builder
	b.WriteString(r.Method + "\n" + canonicalPath(r.URL, s.service) + "\n" + canonicalQuery(r.URL, withToken) + "\n")
	for _, name := range s.headers {
		b.WriteString(name + ":" + canonicalHeader(r, name) + "\n")
	}
	b.WriteString("\n" + strings.Join(s.headers, ";") + "\n" + payload)
	return b.String()
}

// canonicalPath is the path as it was sent; for all services but S3 it is encoded
// once more.
func canonicalPath(u *url.URL, service string) string {
	path := cmp.Or(u.EscapedPath(), "/")
	if service == "s3" {
		return path
	}
	return escape(path, "/")
}

func canonicalQuery(u *url.URL, withToken bool) string {
	query := u.Query()
	query.Del("X-Amz-Signature")
	if !withToken {
		query.Del("X-Amz-Security-Token")
	}
	var pairs []string
	for _, name := range slices.Sorted(maps.Keys(query)) {
		for _, value := range query[name] {
			pairs = append(pairs, escape(name, "")+"="+escape(value, ""))
		}
	}
	slices.Sort(pairs)
	return strings.Join(pairs, "&")
}

func canonicalHeader(r *http.Request, name string) string {
	if name == "host" { // net/http takes it out of the headers
		return r.Host
	}
	var values []string
	for _, value := range r.Header.Values(name) {
		values = append(values, strings.Join(strings.Fields(value), " "))
	}
	return strings.Join(values, ",")
}

// escape encodes all but RFC 3986's unreserved characters and those to keep.
func escape(text, keep string) string {
	const upperHex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(text) {
		c := text[i]
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~"+keep, c) >= 0 {
			b.WriteByte(c)
			continue
		}
		b.Write([]byte{'%', upperHex[c>>4], upperHex[c&15]})
	}
	return b.String()
}

func (s *signature) key(secret string) []byte {
	key := mac([]byte("AWS4"+secret), s.day)
	for _, part := range []string{s.region, s.service, terminator} {
		key = mac(key, part)
	}
	return key
}

func (s *signature) matches(key []byte, canonical string) bool {
	toSign := algorithm + "\n" + s.time.Format(timeFormat) + "\n" + s.scope() + "\n" + hexSHA256([]byte(canonical))
	return hmac.Equal([]byte(s.value), []byte(hex.EncodeToString(mac(key, toSign))))
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

func hexSHA256(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
