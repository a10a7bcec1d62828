package api

import (
	"cmp"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"lastwill/internal/localaws/awsapi"
)

// restFront speaks the AWS REST-JSON protocol: method and path are the operation,
// its input is in path, query, headers and body.
type restFront struct {
	service string
	routes  []route
}

// A route is an operation's method and path; {name} stands for one segment,
// which is an input of that name.
type route struct {
	method, path, name string
	run                operation
	// payload tells that the body is no JSON but part of the input as it is.
	payload bool
	// header is an input that comes in a header, and principal its name.
	principalHeader string
}

func (restFront) limit() int64             { return maxBody }
func (restFront) codes() map[string]string { return jsonCodes }

func (f restFront) serve(w http.ResponseWriter, c *call) error {
	r, inputs := f.find(c.Method, c.URL.EscapedPath())
	if r == nil {
		return notHere(f.service, c.Method+" "+c.URL.EscapedPath())
	}
	body, err := io.ReadAll(c.Body)
	if err != nil {
		return err
	}
	if r.payload {
		c.payload, body = body, nil
	}
	query, err := parameters(c.URL.RawQuery)
	if err != nil {
		return err
	}
	for name := range query {
		inputs[name] = query.Get(name)
	}
	if r.principalHeader != "" {
		inputs["principal"] = c.Header.Get(r.principalHeader)
	}
	err = c.authorize(f.service, r.name, func(name string) string { return cmp.Or(inputs[name], textIn(body, name)) })
	if err != nil {
		return err
	}
	out, err := r.run(c, func(in any) error { return decodeREST(body, inputs, in) })
	if err != nil {
		return err
	}
	writeJSON(w, c, http.StatusOK, out)
	return nil
}

func (f restFront) fail(w http.ResponseWriter, c *call, err *awsapi.Error) { failJSON(w, c, err) }

// find returns the route of a request, nil if there is none, and the inputs in
// its path.
func (f restFront) find(method, escapedPath string) (*route, map[string]string) {
	segments := strings.Split(escapedPath, "/")
	for i := range f.routes {
		r := &f.routes[i]
		if r.method != method {
			continue
		}
		if inputs, ok := match(strings.Split(r.path, "/"), segments); ok {
			return r, inputs
		}
	}
	return nil, nil
}

func match(pattern, segments []string) (map[string]string, bool) {
	if len(pattern) != len(segments) {
		return nil, false
	}
	inputs := map[string]string{}
	for i, want := range pattern {
		got, err := url.PathUnescape(segments[i])
		if err != nil {
			return nil, false
		}
		if name, ok := strings.CutPrefix(want, "{"); ok {
			inputs[strings.TrimSuffix(name, "}")] = got
		} else if got != want {
			return nil, false
		}
	}
	return inputs, true
}

// decodeREST joins the members of the body with the inputs from elsewhere.
func decodeREST(body []byte, inputs map[string]string, in any) error {
	members := map[string]json.RawMessage{}
	if err := decodeJSON(body, &members); err != nil {
		return err
	}
	for name, value := range inputs {
		encoded, err := json.Marshal(value)
		if err != nil {
			return err
		}
		members[name] = encoded
	}
	joined, err := json.Marshal(members)
	if err != nil {
		return err
	}
	return decodeJSON(joined, in)
}

// A number is one in a body, or text in a query.
type number int

// UnmarshalJSON reads both.
func (n *number) UnmarshalJSON(b []byte) error {
	value, err := strconv.Atoi(strings.Trim(string(b), `"`))
	*n = number(value)
	return err
}

// A flag is true or false in a body, or the same as text in a query.
type flag bool

// UnmarshalJSON reads both.
func (f *flag) UnmarshalJSON(b []byte) error {
	value, err := strconv.ParseBool(strings.Trim(string(b), `"`))
	*f = flag(value)
	return err
}
