package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets scripts execute lwt itself: this test binary runs main when it
// is called by that name.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"lwt": main})
}

func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{Dir: "testdata/script"})
}
