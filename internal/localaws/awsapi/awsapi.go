// Package awsapi is what all local services share: the account, ARNs, ids, tags
// and AWS's errors.
package awsapi

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/http"
)

// An Account is where everything local lives.
type Account struct {
	// ID has twelve digits.
	ID string
	// Region such as us-east-1.
	Region string
}

// ARN returns the ARN of a regional resource of this account.
func (a Account) ARN(service, resource string) string {
	return "arn:aws:" + service + ":" + a.Region + ":" + a.ID + ":" + resource
}

// GlobalARN returns the ARN of a resource without a region, as IAM's are.
func (a Account) GlobalARN(service, resource string) string {
	return "arn:aws:" + service + "::" + a.ID + ":" + resource
}

// Context returns the condition keys that every request of this account has for
// policies (IAM user guide, "AWS global condition context keys"). It counts as made
// over TLS, as the SDKs make them.
func (a Account) Context() map[string]string {
	return map[string]string{
		"aws:RequestedRegion": a.Region, "aws:ResourceAccount": a.ID, "s3:ResourceAccount": a.ID, "aws:SecureTransport": "true",
	}
}

// Tags of a resource.
type Tags map[string]string

// An Error is what an AWS API answers when it refuses: a code that SDKs turn
// into typed errors, an HTTP status and a message for people.
type Error struct {
	Code    string
	Status  int
	Message string
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }

// Errorf returns an Error with status 400, which is what most of AWS's are.
func Errorf(code, format string, args ...any) *Error {
	return &Error{Code: code, Status: http.StatusBadRequest, Message: fmt.Sprintf(format, args...)}
}

// NotFoundf returns an Error with status 404.
func NotFoundf(code, format string, args ...any) *Error {
	return &Error{Code: code, Status: http.StatusNotFound, Message: fmt.Sprintf(format, args...)}
}

// Conflictf returns an Error with status 409.
func Conflictf(code, format string, args ...any) *Error {
	return &Error{Code: code, Status: http.StatusConflict, Message: fmt.Sprintf(format, args...)}
}

// NewID returns a random UUID, version 4.
func NewID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // crypto/rand.Read never fails
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	digits := hex.EncodeToString(b[:])
	return digits[:8] + "-" + digits[8:12] + "-" + digits[12:16] + "-" + digits[16:20] + "-" + digits[20:]
}

// NewHex returns n random bytes in hexadecimal, as certificate ids and SNS
// tokens are written.
func NewHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return hex.EncodeToString(b)
}
