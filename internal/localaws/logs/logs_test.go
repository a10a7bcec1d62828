package logs

import (
	"errors"
	"strconv"
	"strings"
	"testing"

	"lastwill/internal/localaws/awsapi"
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func code(err error) string {
	if e, ok := errors.AsType[*awsapi.Error](err); ok {
		return e.Code
	}
	return ""
}

func TestGroups(t *testing.T) {
	t.Parallel()
	s := New(awsapi.Account{ID: "123456789012", Region: "us-east-1"})
	g, err := s.Create("/lwt/errors", 90, nil)
	check(t, err)
	if want := "arn:aws:logs:us-east-1:123456789012:log-group:/lwt/errors"; g.ARN != want || g.RetentionInDays != 90 {
		t.Errorf("got %+v, want ARN %s", g, want)
	}
	for _, c := range []struct {
		claim, code string
		do          func() error
	}{
		{"a name that is taken", "ResourceAlreadyExistsException", func() error { _, err := s.Create("/lwt/errors", 0, nil); return err }},
		{"a name with a space", "InvalidParameterException", func() error { _, err := s.Create("a b", 0, nil); return err }},
		{"a name of 513 characters", "InvalidParameterException", func() error { _, err := s.Create(strings.Repeat("x", 513), 0, nil); return err }},
		{"an event for a group that does not exist", "ResourceNotFoundException", func() error { return s.Put("none", "stream", "x") }},
		{"events of one", "ResourceNotFoundException", func() error { _, err := s.Events("none"); return err }},
		{"its deletion", "ResourceNotFoundException", func() error { return s.Delete("none") }},
		{"the group's deletion", "", func() error { return s.Delete("/lwt/errors") }},
	} {
		if err := c.do(); code(err) != c.code {
			t.Errorf("%s: %v, want %q", c.claim, err, c.code)
		}
	}
	if left := s.Groups(); len(left) > 0 {
		t.Errorf("left: %+v", left)
	}
}

// A group that is full drops its oldest events.
func TestEventsAreBounded(t *testing.T) {
	t.Parallel()
	s := New(awsapi.Account{})
	_, err := s.Create("g", 0, nil)
	check(t, err)
	for i := range maxEvents + 10 {
		check(t, s.Put("g", "stream", strconv.Itoa(i)))
	}
	events, err := s.Events("g")
	check(t, err)
	if first, last := events[0].Message, events[len(events)-1].Message; len(events) != maxEvents || first != "10" || last != strconv.Itoa(maxEvents+9) {
		t.Errorf("%d events from %s to %s", len(events), first, last)
	}
}
