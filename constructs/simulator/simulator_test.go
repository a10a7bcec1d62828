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
