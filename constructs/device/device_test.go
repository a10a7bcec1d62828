package device_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/jsii-runtime-go"

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
		{"a certificate in place of the CSR", device.Props{Things: []device.Thing{{Name: "a", Certificate: "PEM"}}, ConnectedTopic: "/a", WillTopic: "/b"}, ""},
		{
			"a certificate beside the CSR",
			device.Props{Things: []device.Thing{{Name: "a", CSR: "CSR", Certificate: "PEM"}}, ConnectedTopic: "/a", WillTopic: "/b"},
			`thing "a" has a CSR and a certificate: give one of them`,
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

func TestNoNameOfAThingIsTaken(t *testing.T) {
	var things []device.Thing
	for _, name := range []string{"Policy", "pump", "pumpThing", "pumpCertificate", "pump-Certificate", "pump_Certificate", "pump:Certificate"} {
		things = append(things, device.Thing{Name: name, CSR: "CSR"})
	}
	var template struct{ Resources map[string]any }
	err := json.Unmarshal(cdktest.Template(t, func(app awscdk.App) awscdk.Stack {
		stack := awscdk.NewStack(app, jsii.String("Test"), nil)
		device.New(stack, "Devices", device.Props{Things: things, ConnectedTopic: "/a", WillTopic: "/b"})
		return stack
	}), &template)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := len(template.Resources), device.SharedResources+len(things)*device.ResourcesPerThing; got != want {
		t.Errorf("%d resources, want %d", got, want)
	}
}
