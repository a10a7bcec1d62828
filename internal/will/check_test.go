package will

import (
	"strings"
	"testing"
)

func TestCheckThingName(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		claim, name string
		good        bool
	}{
		{"the scenario's", ThingName, true},
		{"colons and underscores", "eu:site_7", true},
		{"the longest", strings.Repeat("t", 128), true},
		{"a longer one", strings.Repeat("t", 129), false},
		{"none", "", false},
		{"a path", "../lwt", false},
		{"a line end", "lwtThing\n", false},
	} {
		t.Run(c.claim, func(t *testing.T) {
			t.Parallel()
			if err := CheckThingName(c.name); (err == nil) != c.good {
				t.Error(err)
			}
		})
	}
}

func TestCheckRuleName(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		claim, name string
		good        bool
	}{
		{"the scenario's", "lastWillRule", true},
		{"an environment's", NewNames("pr-7").Rule, true},
		{"the longest", strings.Repeat("r", 128), true},
		{"a longer one", strings.Repeat("r", 129), false},
		{"none", "", false},
		{"a hyphen", "last-will", false},
		{"a line end", "lastWillRule\n", false},
	} {
		t.Run(c.claim, func(t *testing.T) {
			t.Parallel()
			if err := CheckRuleName(c.name); (err == nil) != c.good {
				t.Error(err)
			}
		})
	}
}

func TestCheckTopicName(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ claim, topic, want string }{
		{"the scenario's", "/last/will/topic", ""},
		{"seven slashes", strings.Repeat("/a", 7), ""},
		{"256 bytes", strings.Repeat("a", 256), ""},
		{"letters beyond ASCII", "gerät/türe", ""},
		{"empty", "", "empty"},
		{"eight slashes", strings.Repeat("/a", 8), "8 slashes"},
		{"257 bytes", strings.Repeat("a", 257), "257 bytes"},
		{"one level's wildcard", "a/+/b", "wildcard"},
		{"the rest's wildcard", "a/#", "wildcard"},
		{"reserved", "$aws/things/x", "reserved"},
		{"a quote would end the SQL's", "a'b", "quote"},
		{"a template", "a/${b}", "${"},
		{"a control character", "a\x00b", "control"},
		{"not UTF-8", "a\xff", "UTF-8"},
	} {
		t.Run(c.claim, func(t *testing.T) {
			t.Parallel()
			err := CheckTopicName(c.topic)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestCheckTopicFilter(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ claim, filter, want string }{
		{"a topic", "/last/will/topic", ""},
		{"all topics", "#", ""},
		{"one level and the rest", "+/a/#", ""},
		{"one level inside", "a/+/b", ""},
		{"AWS's own topics", "$aws/events/presence/+/+", ""},
		{"a shared subscription's prefix does not count", "$share/group" + strings.Repeat("/a", 8), ""},
		{"empty", "", "empty"},
		{"the rest with a name", "a/b#", "# stands alone in the last level"},
		{"the rest not at the end", "a/#/b", "# stands alone in the last level"},
		{"one level with a name", "a+", "+ stands alone in its level"},
		{"both wildcards in a level", "a/+#", "# stands alone"},
		{"eight slashes", strings.Repeat("/", 8), "8 slashes"},
		{"ten slashes, shared", "$share/group" + strings.Repeat("/a", 9), "8 slashes"},
		{"257 bytes", strings.Repeat("a", 257), "257 bytes"},
		{"a control character", "a\x00b", "control"},
		{"not UTF-8", "a\xff", "UTF-8"},
	} {
		t.Run(c.claim, func(t *testing.T) {
			t.Parallel()
			err := CheckTopicFilter(c.filter)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}
