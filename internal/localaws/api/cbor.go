package api

import (
	"cmp"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/fxamacker/cbor/v2"

	"lastwill/internal/localaws/awsapi"
)

// cborFront speaks Smithy's RPC v2 with CBOR: the operation is in the path, its
// input is the body. CloudWatch is the one service that has it here; it also takes
// JSON, which the aws CLI speaks with it. Names are those of the tags json.
type cborFront struct {
	service    string
	operations map[string]operation
	// queryCodes are errors that had another name in the Query protocol, which the
	// service once spoke and clients still know.
	queryCodes map[string]string
}

var (
	cborIn  = must(cbor.DecOptions{ExtraReturnErrors: cbor.ExtraDecErrorUnknownField, MaxNestedLevels: maxDepth}.DecMode())
	cborOut = must(cbor.EncOptions{Time: cbor.TimeUnixDynamic, TimeTag: cbor.EncTagRequired}.EncMode())
)

// A moment is a time in both protocols.
type moment time.Time

// MarshalCBOR writes it tagged as a time.
func (m moment) MarshalCBOR() ([]byte, error) { return cborOut.Marshal(time.Time(m)) }

// UnmarshalCBOR reads it, tagged or not.
func (m *moment) UnmarshalCBOR(b []byte) error { return cborIn.Unmarshal(b, (*time.Time)(m)) }

// MarshalJSON writes it as other times in JSON.
func (m moment) MarshalJSON() ([]byte, error) { return timestamp(m).MarshalJSON() }

// UnmarshalJSON reads seconds.
func (m *moment) UnmarshalJSON(b []byte) error {
	seconds, err := strconv.ParseFloat(string(b), 64)
	*m = moment(time.UnixMilli(int64(seconds * 1000)))
	return err
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err) // the options are constants
	}
	return v
}

func (cborFront) limit() int64             { return maxBody }
func (cborFront) codes() map[string]string { return jsonCodes }

// inJSON reports whether a request is in the other protocol.
func inJSON(c *call) bool { return c.Header.Get("X-Amz-Target") != "" }

func (f cborFront) serve(w http.ResponseWriter, c *call) error {
	if inJSON(c) {
		return jsonFront{f.service, f.operations}.serve(w, c)
	}
	name := c.URL.Path[strings.LastIndex(c.URL.Path, "/")+1:]
	run, ok := f.operations[name]
	if !ok {
		return notHere(f.service, named(name))
	}
	body, err := io.ReadAll(c.Body)
	if err != nil {
		return err
	}
	out, err := run(c, func(in any) error { return decodeCBOR(body, in) })
	if err != nil {
		return err
	}
	writeCBOR(w, c, http.StatusOK, out)
	return nil
}

func (f cborFront) fail(w http.ResponseWriter, c *call, err *awsapi.Error) {
	w.Header().Set("X-Amzn-Query-Error", cmp.Or(f.queryCodes[err.Code], err.Code)+";"+faultOf(err))
	if inJSON(c) {
		failJSON(w, c, err)
		return
	}
	writeCBOR(w, c, err.Status, struct {
		Type    string `cbor:"__type"`
		Message string `cbor:"message"`
	}{err.Code, err.Message})
}

func writeCBOR(w http.ResponseWriter, c *call, status int, document any) {
	b, err := cborOut.Marshal(document)
	if err != nil {
		status, b = http.StatusInternalServerError, nil
	}
	w.Header().Set("Smithy-Protocol", "rpc-v2-cbor")
	c.answer(w, status, "application/cbor", b)
}

// decodeCBOR fills a struct; a member without a field is refused.
func decodeCBOR(body []byte, in any) error {
	if len(body) == 0 {
		return nil
	}
	err := cborIn.Unmarshal(body, in)
	if unknown, ok := errors.AsType[*cbor.UnknownFieldError](err); ok {
		return awsapi.Errorf("ValidationException", "the request has a parameter that is not supported by this local endpoint: %v", unknown)
	}
	if err != nil {
		return awsapi.Errorf("SerializationException", "the request's CBOR cannot be read: %v", err)
	}
	return nil
}
