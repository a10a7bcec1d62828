package shell_test

import (
	"os/exec"
	"testing"

	"lastwill/internal/shell"
)

func TestAShellReadsWhatWasQuoted(t *testing.T) {
	t.Parallel()
	for _, word := range []string{"", "plain/path-1.key", "a b", "it's", `"$HOME" \n`, "`id`", "a;b&c|d>e", "ops@example.com,x+y@example.com", "~", "*", "ü"} {
		out, err := exec.Command("sh", "-c", "printf %s "+shell.Quote(word)).Output()
		if err != nil || string(out) != word {
			t.Errorf("%q becomes %s, which a shell reads as %q, %v", word, shell.Quote(word), out, err)
		}
	}
}
