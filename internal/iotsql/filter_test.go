package iotsql

import (
	"slices"
	"strings"
	"testing"
)

var filterCases = []struct {
	claim, filter, topic string
	matches              bool
}{
	{"a topic matches itself", "a/b", "a/b", true},
	{"case counts", "a/b", "a/B", false},
	{"a longer topic is another", "a/b", "a/b/c", false},
	{"a shorter topic is another", "a/b", "a", false},
	{"plus is one level", "a/+/c", "a/b/c", true},
	{"plus is one level only", "a/+", "a/b/c", false},
	{"plus is not no level", "a/+", "a", false},
	{"plus matches an empty level", "a/+", "a/", true},
	{"plus first", "+/b", "a/b", true},
	{"hash is one level", "a/#", "a/b", true},
	{"hash is several levels", "a/#", "a/b/c/d", true},
	{"hash does not match the parent, as on AWS", "a/#", "a", false},
	{"hash alone is any topic", "#", "a/b", true},
	{"hash alone is a topic of one level", "#", "a", true},
	{"a leading slash is an empty first level", "/last/will/topic", "/last/will/topic", true},
	{"a leading slash makes another topic", "last/will", "/last/will", false},
	{"plus matches the empty level before a leading slash", "+/last", "/last", true},
	{"hash first does not see reserved topics", "#", "$aws/events", false},
	{"plus first does not see reserved topics", "+/events", "$aws/events", false},
	{"wildcards after a reserved level do", "$aws/+", "$aws/events", true},
	{"no filter matches no topic", "", "a", false},
}

func TestMatchFilter(t *testing.T) {
	t.Parallel()
	for _, c := range filterCases {
		t.Run(c.claim, func(t *testing.T) {
			t.Parallel()
			if got := MatchFilter(c.filter, c.topic); got != c.matches {
				t.Errorf("MatchFilter(%q, %q) = %v", c.filter, c.topic, got)
			}
		})
	}
}

func TestAnIndexFindsWhatMatchFilterDoes(t *testing.T) {
	t.Parallel()
	var x Index[string]
	for _, c := range filterCases {
		if c.filter != "" {
			x.Add(c.filter, c.filter)
		}
	}
	for _, c := range filterCases {
		got := slices.Compact(slices.Sorted(x.Match(c.topic)))
		var want []string
		for _, other := range filterCases {
			if MatchFilter(other.filter, c.topic) {
				want = append(want, other.filter)
			}
		}
		slices.Sort(want)
		if want = slices.Compact(want); !slices.Equal(got, want) {
			t.Errorf("%s: got %s, want %s", c.topic, strings.Join(got, " "), strings.Join(want, " "))
		}
	}
}

func TestAnIndexForgetsWhatIsRemoved(t *testing.T) {
	t.Parallel()
	var x Index[int]
	filters := []string{"a/b", "a/+", "a/#", "#", "+", "a/b/c"}
	for i, f := range filters {
		x.Add(f, i)
		x.Add(f, i+100)
	}
	for i, f := range filters {
		if !x.Remove(f, i) {
			t.Errorf("%s was not there", f)
		}
		if x.Remove(f, i) {
			t.Errorf("%s was there twice", f)
		}
	}
	got := slices.Sorted(x.Match("a/b"))
	if want := []int{100, 101, 102, 103}; !slices.Equal(got, want) {
		t.Errorf("left for a/b: %v, want %v", got, want)
	}
	for i, f := range filters {
		x.Remove(f, i+100)
	}
	if len(x.root.children) != 0 {
		t.Errorf("%d children are left of an empty index", len(x.root.children))
	}
}

func TestMatchStopsWhenItsCallerDoes(t *testing.T) {
	t.Parallel()
	var x Index[string]
	for _, f := range []string{"#", "a/#", "a/b", "a/+"} {
		x.Add(f, f)
	}
	seen := 0
	for range x.Match("a/b") {
		if seen++; seen == 2 {
			break
		}
	}
	if seen != 2 {
		t.Errorf("saw %d", seen)
	}
}
