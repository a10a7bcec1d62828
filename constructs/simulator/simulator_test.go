package simulator_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lastwill/constructs/simulator"
	"lastwill/test/cdktest"
)

func TestMain(m *testing.M) { cdktest.Main(m) }

func TestValidateSaysHowToBuildTheProgram(t *testing.T) {
	program := filepath.Join(t.TempDir(), "simulator")
	for _, missing := range []string{program, t.TempDir()} {
		err := simulator.Props{Program: missing}.Validate()
		if err == nil || !strings.Contains(err.Error(), missing) || !strings.Contains(err.Error(), "npx cdk synth") {
			t.Errorf("err = %v, want the path and the command", err)
		}
	}
	if err := os.WriteFile(program, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := (simulator.Props{Program: program}).Validate(); err != nil {
		t.Errorf("a program that is there: %v", err)
	}
}
