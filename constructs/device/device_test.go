package device_test

import (
	"strings"
	"testing"

	"lastwill/constructs/device"
	"lastwill/test/cdktest"
)

func TestMain(m *testing.M) { cdktest.Main(m) }

func TestValidateNamesWhatIsWrong(t *testing.T) {
	thing := func(name string) device.Thing { return device.Thing{Name: name, CSR: "CSR"} }
	cases := []struct {
		name  string
		props device.Props
		want  string // all of the message
	}{
		{"all characters that AWS takes", device.Props{Things: []device.Thing{thing("a-Z_0:9"), thing(strings.Repeat("x", 128))}, ConnectedTopic: "/a", WillTopic: "/b"}, ""},
		{"no things", device.Props{ConnectedTopic: "/a", WillTopic: "/b"}, "no thing: name at least one"},
		{
			"a space in the name",
			device.Props{Things: []device.Thing{thing("lwt thing")}, ConnectedTopic: "/a", WillTopic: "/b"},
			`thing name "lwt thing": use 1 to 128 letters, digits, colons, underscores and hyphens`,
		},
		{
			"one name twice",
			device.Props{Things: []device.Thing{thing("a"), thing("a")}, ConnectedTopic: "/a", WillTopic: "/b"},
			`thing name "a" is given twice: name each thing once`,
		},
		{
			"no CSR",
			device.Props{Things: []device.Thing{{Name: "a"}}, ConnectedTopic: "/a", WillTopic: "/b"},
			`thing "a" has no CSR: give its certificate signing request in PEM`,
		},
		{
			"a topic that a policy reads as many",
			device.Props{Things: []device.Thing{thing("a")}, ConnectedTopic: "/a/*", WillTopic: "/b"},
			`topic "/a/*" has * or ?, which policies would read as wildcards: remove them`,
		},
		{
			"all at once",
			device.Props{},
			"no thing: name at least one\ntopic is empty: give a name such as /last/will/topic\ntopic is empty: give a name such as /last/will/topic",
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := ""
			if err := c.props.Validate(); err != nil {
				got = err.Error()
			}
			if got != c.want {
				t.Errorf("Validate:\n got %s\nwant %s", got, c.want)
			}
		})
	}
}
