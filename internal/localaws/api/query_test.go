package api

import (
	"errors"
	"net/url"
	"reflect"
	"testing"

	"lastwill/internal/localaws/awsapi"
)

// form has one field of each kind that the Query protocol knows.
type form struct {
	Name    string
	Limit   *int
	Force   bool
	Names   []string
	Tags    []struct{ Key, Value string }
	Inner   struct{ Depth int }
	Entries map[string]string
}

func TestDecodeForm(t *testing.T) {
	t.Parallel()
	ten := 10
	for _, test := range []struct {
		claim, form string
		want        form
		code        string
	}{
		{"scalars", "Name=a+b&Limit=10&Force=true", form{Name: "a b", Limit: &ten, Force: true}, ""},
		{"members keep their order, gaps or not", "Names.member.10=b&Names.member.2=a", form{Names: []string{"a", "b"}}, ""},
		{"an empty list", "Names=", form{Names: []string{}}, ""},
		{"a list of structures", "Tags.member.1.Key=k&Tags.member.1.Value=v", form{Tags: []struct{ Key, Value string }{{"k", "v"}}}, ""},
		{"a structure in a structure", "Inner.Depth=2", form{Inner: struct{ Depth int }{2}}, ""},
		{"a map", "Entries.entry.1.key=k&Entries.entry.1.value=v", form{Entries: map[string]string{"k": "v"}}, ""},
		{"an unknown parameter is refused", "Nme=x", form{}, "ValidationError"},
		{"an unknown parameter within a list is refused", "Tags.member.1.Kye=x", form{}, "ValidationError"},
		{"a parameter that is there twice is refused", "Name=a&Name=b", form{}, "ValidationError"},
		{"a key that is there twice is refused", "Entries.entry.1.key=k&Entries.entry.2.key=k", form{}, "ValidationError"},
		{"member 0 is refused", "Names.member.0=a", form{}, "ValidationError"},
		{"member x is refused", "Names.member.x=a", form{}, "ValidationError"},
		{"a number that is none is refused", "Limit=ten", form{}, "ValidationError"},
		{"a Boolean that is none is refused", "Force=yes", form{}, "ValidationError"},
	} {
		t.Run(test.claim, func(t *testing.T) {
			t.Parallel()
			values, err := url.ParseQuery(test.form)
			if err != nil {
				t.Fatal(err)
			}
			var got form
			err = decodeForm(values, &got)
			if refused, ok := errors.AsType[*awsapi.Error](err); ok && refused.Code == test.code {
				return
			}
			if err != nil || test.code != "" {
				t.Fatalf("the error is %v, not %q", err, test.code)
			}
			if !reflect.DeepEqual(normal(got), normal(test.want)) {
				t.Errorf("got %+v, not %+v", got, test.want)
			}
		})
	}
}

// normal makes lists and maps that are empty equal to those that are absent.
func normal(f form) form {
	if len(f.Names) == 0 {
		f.Names = nil
	}
	if len(f.Tags) == 0 {
		f.Tags = nil
	}
	if len(f.Entries) == 0 {
		f.Entries = nil
	}
	return f
}

// FuzzDecodeForm: what is refused is refused with a code of AWS's, and what is
// taken has as many members as the form has parameters at most.
func FuzzDecodeForm(f *testing.F) {
	for _, seed := range []string{
		"", "Name=a&Limit=1&Force=true", "Names=", "Names.member.1=a&Names.member.2=b", "Tags.member.1.Key=a&Tags.member.1.Value=b",
		"Entries.entry.1.key=a&Entries.entry.1.value=b", "Inner.Depth=-1", "Names.member.999999999999999999=a", "Names.member.=a",
		"Tags.member.1=a", "%zz", ".=&.member.1=", "X-Amz-Signature=a", "Entries.entry.1.key.key=a",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, encoded string) {
		values, err := parameters(encoded)
		var got form
		if err == nil {
			err = decodeForm(values, &got)
		}
		if err != nil && !errors.As(err, new(*awsapi.Error)) {
			t.Fatalf("the error has no code: %v", err)
		}
		if n := len(got.Names) + len(got.Tags) + len(got.Entries); n > len(values) {
			t.Fatalf("%d parameters became %d members", len(values), n)
		}
	})
}
