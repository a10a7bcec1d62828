package keypair

import (
	"os"
	"path/filepath"
	"testing"
)

// A key that somebody else made between the look for it and the writing stays: it may
// have a certificate by now.
func TestAKeyThatWasMadeMeanwhileStays(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lwtThing.key")
	for _, content := range []string{"theirs", "ours"} {
		if err := writeNew(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if kept, err := os.ReadFile(path); err != nil || string(kept) != "theirs" {
		t.Errorf("the file has %q, %v", kept, err)
	}
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 1 {
		t.Errorf("there are %d files, want the key alone: %v", len(left), err)
	}
}
