package simulator_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lastwill/constructs/simulator"
	"lastwill/test/cdktest"
)

func TestMain(m *testing.M) { cdktest.Main(m) }

func TestValidateSaysHowToBuildTheProgram(t *testing.T) {
	folder := t.TempDir()
	for _, missing := range []string{folder, filepath.Join(folder, "none")} {
		err := simulator.Props{Folder: missing}.Validate()
		if err == nil || !strings.Contains(err.Error(), missing) || !strings.Contains(err.Error(), "npx cdk synth") {
			t.Errorf("err = %v, want the path and the command", err)
		}
	}
	if err := os.WriteFile(filepath.Join(folder, "bootstrap"), nil, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := (simulator.Props{Folder: folder}).Validate(); err != nil {
		t.Errorf("a program that is there: %v", err)
	}
}

func TestValidateNamesWhatIsWrongWithACheck(t *testing.T) {
	err := simulator.CheckProps{Architecture: "riscv", Limit: time.Second, WillTopic: "#", ConnectedTopic: "c", ExecutedTopic: "e"}.Validate()
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		"a check needs the program, the devices and the alert", "a check needs the names of a thing and of the rule",
		`topic "#" has a wildcard`, `architecture "riscv": use x86_64 or arm64`, "limit of 1s: give 10s to 10m0s",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in:\n%v", want, err)
		}
	}
}
