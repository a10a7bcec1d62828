package outage_test

import (
	"strings"
	"testing"
	"time"

	"lastwill/constructs/outage"
	"lastwill/test/cdktest"
)

func TestMain(m *testing.M) { cdktest.Main(m) }

func TestValidateNamesAllThatIsWrong(t *testing.T) {
	err := outage.Props{Grace: time.Second, Alarms: true, Folder: t.TempDir()}.Validate()
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		`"1s": give a duration from 60s to 15m in whole seconds, such as 3m`, `rule name ""`, "topic is empty",
		"confirmed alerts need an alert", "no e-mail address", "bootstrap is missing: start the app with the CDK CLI (npx cdk synth)",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in:\n%v", want, err)
		}
	}
}
