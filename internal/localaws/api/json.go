package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"lastwill/internal/localaws/awsapi"
)

// jsonFront speaks the AWS JSON protocols 1.0 and 1.1, which differ in their name
// only: the operation is in a header, its input is the body.
type jsonFront struct {
	service    string
	operations map[string]operation
}

// jsonCodes are the names that AWS's JSON protocols have for errors of signatures.
var jsonCodes = map[string]string{
	errUnknownKey.Code:   "UnrecognizedClientException",
	errTokenExpired.Code: "ExpiredTokenException",
	errDenied:            "AccessDeniedException",
}

func (jsonFront) limit() int64             { return maxBody }
func (jsonFront) codes() map[string]string { return jsonCodes }

func (f jsonFront) serve(w http.ResponseWriter, c *call) error {
	target := c.Header.Get("X-Amz-Target")
	_, name, _ := strings.Cut(target, ".")
	run, ok := f.operations[name]
	if !ok {
		return notHere(f.service, named(name))
	}
	body, err := io.ReadAll(c.Body)
	if err != nil {
		return err
	}
	if err := c.authorize(f.service, name, func(input string) string { return textIn(body, input) }); err != nil {
		return err
	}
	out, err := run(c, func(in any) error { return decodeJSON(body, in) })
	if err != nil {
		return err
	}
	writeJSON(w, c, http.StatusOK, out)
	return nil
}

// textIn returns a member of a JSON object that is text, "" if there is none.
func textIn(body []byte, name string) string {
	var members map[string]json.RawMessage
	var text string
	if json.Unmarshal(body, &members) != nil || json.Unmarshal(members[name], &text) != nil {
		return ""
	}
	return text
}

func (f jsonFront) fail(w http.ResponseWriter, c *call, err *awsapi.Error) { failJSON(w, c, err) }

func failJSON(w http.ResponseWriter, c *call, err *awsapi.Error) {
	w.Header().Set("X-Amzn-Errortype", err.Code)
	writeJSON(w, c, err.Status, struct {
		Type    string `json:"__type"`
		Message string `json:"message"`
	}{err.Code, err.Message})
}

// writeJSON answers with a document. It is encoded first, so that an answer is
// whole or an error.
func writeJSON(w http.ResponseWriter, c *call, status int, document any) {
	b, err := json.Marshal(document)
	if err != nil {
		status, b = http.StatusInternalServerError, []byte(`{"message":"the answer cannot be encoded"}`)
	}
	c.answer(w, status, jsonType(c), b)
}

// jsonType is the version of the protocol that the request is in.
func jsonType(c *call) string {
	if asked := c.Header.Get("Content-Type"); asked == "application/x-amz-json-1.0" {
		return asked
	}
	return "application/x-amz-json-1.1"
}

// decodeJSON fills a struct; a member without a field is refused.
func decodeJSON(body []byte, in any) error {
	if len(bytes.TrimSpace(body)) == 0 {
		return nil
	}
	if err := checkDepth(body); err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	err := d.Decode(in)
	if err == nil {
		if _, more := d.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("something follows its end")
		}
	}
	if err == nil {
		return nil
	}
	if field, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		return awsapi.Errorf("ValidationException", "parameter %s is not supported by this local endpoint", field)
	}
	return awsapi.Errorf("SerializationException", "the request's JSON cannot be read: %v", err)
}

// checkDepth refuses nesting that no request needs.
func checkDepth(body []byte) error {
	depth, inString := 0, false
	for i := 0; i < len(body); i++ {
		switch c := body[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{', c == '[':
			if depth++; depth > maxDepth {
				return awsapi.Errorf("SerializationException", "the request's JSON nests deeper than %d levels", maxDepth)
			}
		case c == '}', c == ']':
			depth--
		}
	}
	return nil
}

// A timestamp is written in seconds, with milliseconds as a fraction.
type timestamp time.Time

// MarshalJSON writes the zero time as null: there is none.
func (t timestamp) MarshalJSON() ([]byte, error) {
	if time.Time(t).IsZero() {
		return []byte("null"), nil
	}
	return fmt.Appendf(nil, "%.3f", float64(time.Time(t).UnixMilli())/1000), nil
}
