package api

import (
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"lastwill/internal/localaws/awsapi"
)

// queryFront speaks the AWS Query protocol: a form in, XML out.
type queryFront struct {
	service string
	// namespace of the XML.
	namespace  string
	operations map[string]operation
}

func (queryFront) limit() int64             { return maxBody }
func (queryFront) codes() map[string]string { return nil }

func (f queryFront) serve(w http.ResponseWriter, c *call) error {
	form, err := readForm(c.Request)
	if err != nil {
		return err
	}
	action := form.Get("Action")
	run, ok := f.operations[action]
	if !ok {
		return notHere(f.service, named(action))
	}
	form.Del("Action")
	form.Del("Version")
	if err := c.authorize(f.service, action, form.Get); err != nil {
		return err
	}
	out, err := run(c, func(in any) error { return decodeForm(form, in) })
	if err != nil {
		return err
	}
	writeXML(w, c, http.StatusOK, envelope{name: action, namespace: f.namespace, result: out, id: c.id})
	return nil
}

func (f queryFront) fail(w http.ResponseWriter, c *call, err *awsapi.Error) {
	writeXML(w, c, err.Status, struct {
		XMLName   xml.Name `xml:"ErrorResponse"`
		Namespace string   `xml:"xmlns,attr,omitempty"`
		Type      string   `xml:"Error>Type"`
		Code      string   `xml:"Error>Code"`
		Message   string   `xml:"Error>Message"`
		RequestID string   `xml:"RequestId"`
	}{Namespace: f.namespace, Type: faultOf(err), Code: err.Code, Message: err.Message, RequestID: c.id})
}

// faultOf says whose fault an error is, in the words of the Query protocol.
func faultOf(err *awsapi.Error) string {
	if err.Status >= http.StatusInternalServerError {
		return "Receiver"
	}
	return "Sender"
}

// named is an operation's name as messages show it.
func named(operation string) string {
	if operation == "" {
		return "a request without the name of an operation"
	}
	return operation
}

// readForm joins the parameters of the query with those of the body: both are allowed.
func readForm(r *http.Request) (url.Values, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	return parameters(strings.Trim(r.URL.RawQuery+"&"+string(body), "&"))
}

// envelope is the answer around an operation's output.
type envelope struct {
	name, namespace string
	result          any
	id              string
}

// MarshalXML writes what the Query protocol puts around an output.
func (e envelope) MarshalXML(x *xml.Encoder, _ xml.StartElement) error {
	outer := xml.StartElement{Name: xml.Name{Space: e.namespace, Local: e.name + "Response"}}
	if err := x.EncodeToken(outer); err != nil {
		return err
	}
	if err := x.EncodeElement(e.result, xml.StartElement{Name: xml.Name{Local: e.name + "Result"}}); err != nil {
		return err
	}
	metadata := struct{ RequestId string }{e.id}
	if err := x.EncodeElement(metadata, xml.StartElement{Name: xml.Name{Local: "ResponseMetadata"}}); err != nil {
		return err
	}
	return x.EncodeToken(outer.End())
}

// writeXML answers with a document. It is encoded first, so that an answer is
// whole or an error.
func writeXML(w http.ResponseWriter, c *call, status int, document any) {
	b, err := xml.Marshal(document)
	if err != nil {
		status, b = http.StatusInternalServerError, []byte(err.Error())
	}
	c.answer(w, status, "text/xml", append([]byte(xml.Header), b...))
}

// decodeForm fills a struct from a form as the Query protocol writes it: A=1,
// List.member.1.B=2, Map.entry.1.key=k. Members are found by the names of the
// struct's fields; a parameter without a field is refused.
func decodeForm(form url.Values, in any) error {
	d := formDecoder{form: form, used: map[string]bool{}}
	if err := d.decode("", reflect.ValueOf(in).Elem()); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(form)) {
		if !d.used[name] {
			return awsapi.Errorf("ValidationError", "parameter %.200q is not supported by this local endpoint", name)
		}
	}
	return nil
}

type formDecoder struct {
	form url.Values
	used map[string]bool
}

func (d *formDecoder) decode(name string, to reflect.Value) error {
	switch to.Kind() {
	case reflect.Struct:
		return d.structure(name, to)
	case reflect.Slice:
		return d.list(name, to)
	case reflect.Map:
		return d.entries(name, to)
	case reflect.Pointer:
		if !d.form.Has(name) {
			return nil
		}
		to.Set(reflect.New(to.Type().Elem()))
		to = to.Elem()
	}
	values, ok := d.form[name]
	if !ok {
		return nil
	}
	if len(values) > 1 {
		return awsapi.Errorf("ValidationError", "parameter %.200q is there %d times", name, len(values))
	}
	d.used[name] = true
	return setScalar(name, values[0], to)
}

func setScalar(name, value string, to reflect.Value) error {
	switch to.Kind() {
	case reflect.String:
		to.SetString(value)
		return nil
	case reflect.Bool:
		switch value {
		case "true", "false":
			to.SetBool(value == "true")
			return nil
		}
		return awsapi.Errorf("ValidationError", "parameter %.200q must be true or false, not %.200q", name, value)
	case reflect.Int:
		n, err := strconv.Atoi(value)
		if err != nil {
			return awsapi.Errorf("ValidationError", "parameter %.200q must be a number, not %.200q", name, value)
		}
		to.SetInt(int64(n))
		return nil
	}
	return fmt.Errorf("parameter %s: this endpoint cannot decode %s", name, to.Type())
}

func (d *formDecoder) structure(name string, to reflect.Value) error {
	if name != "" {
		name += "."
	}
	for i := range to.NumField() {
		member := name + to.Type().Field(i).Name
		if to.Type().Field(i).Anonymous {
			member = strings.TrimSuffix(name, ".") // its members are this struct's
		}
		if err := d.decode(member, to.Field(i)); err != nil {
			return err
		}
	}
	return nil
}

func (d *formDecoder) list(name string, to reflect.Value) error {
	if d.form.Get(name) == "" {
		d.used[name] = true // how an empty list is written
	}
	members := name + ".member."
	indexes, err := d.indexes(members)
	if err != nil {
		return err
	}
	list := reflect.MakeSlice(to.Type(), len(indexes), len(indexes))
	for i, index := range indexes {
		if err := d.decode(members+strconv.Itoa(index), list.Index(i)); err != nil {
			return err
		}
	}
	to.Set(list)
	return nil
}

func (d *formDecoder) entries(name string, to reflect.Value) error {
	indexes, err := d.indexes(name + ".entry.")
	if err != nil {
		return err
	}
	entries := map[string]string{}
	for _, index := range indexes {
		var entry struct{ key, value string }
		prefix := name + ".entry." + strconv.Itoa(index)
		for part, to := range map[string]*string{".key": &entry.key, ".value": &entry.value} {
			if err := d.decode(prefix+part, reflect.ValueOf(to).Elem()); err != nil {
				return err
			}
		}
		if _, twice := entries[entry.key]; twice {
			return awsapi.Errorf("ValidationError", "parameter %.200q has the key %.200q twice", name, entry.key)
		}
		entries[entry.key] = entry.value
	}
	to.Set(reflect.ValueOf(entries))
	return nil
}

// indexes returns the numbers that follow a prefix, sorted. The form has few
// parameters, so neither has a list.
func (d *formDecoder) indexes(prefix string) ([]int, error) {
	found := map[int]bool{}
	for name := range d.form {
		rest, ok := strings.CutPrefix(name, prefix)
		if !ok {
			continue
		}
		text, _, _ := strings.Cut(rest, ".")
		index, err := strconv.Atoi(text)
		if err != nil || index < 1 || strconv.Itoa(index) != text {
			return nil, awsapi.Errorf("ValidationError", "parameter %.200q must have a number from 1 after %q", name, prefix)
		}
		found[index] = true
	}
	return slices.Sorted(maps.Keys(found)), nil
}
