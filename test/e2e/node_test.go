package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The README names the Node versions that are supported: the machine's own, which
// all other tests use, and these (test/node/package.json).
func TestEverySupportedNodeSynthesizesAndDeploys(t *testing.T) {
	for _, version := range []string{"22", "24"} {
		t.Run("node "+version, func(t *testing.T) {
			found, err := filepath.Glob(filepath.Join(root, "test", "node", "node_modules", "node"+version+"-*", "bin"))
			check(t, err)
			if len(found) != 1 {
				t.Fatalf("test/node has no node %s for this machine: run npm ci there", version)
			}
			bin, err := filepath.Abs(found[0])
			check(t, err)
			path := "PATH=" + bin + string(os.PathListSeparator) + os.Getenv("PATH")

			// The CLI and jsii both start the first node of the path.
			which := exec.CommandContext(t.Context(), "/usr/bin/env", "node", "--version")
			which.Env = append(os.Environ(), path)
			out, err := which.Output()
			check(t, err)
			if !strings.HasPrefix(string(out), "v"+version+".") {
				t.Fatalf("node --version is %s, want v%s", out, version)
			}

			c := startCloud(t, filepath.Join(t.TempDir(), "data"))
			run := func(args ...string) string {
				t.Helper()
				synthesizing.Lock()
				defer synthesizing.Unlock()
				cmd := c.cdkCommand(t.Context(), append(args, "--output", c.file("cdk.out"),
					"-c", "email=ops@example.com", "-c", "certs="+c.certs)...)
				cmd.Env = append(cmd.Env, path)
				out, err := cmd.CombinedOutput()
				if err != nil {
					t.Fatalf("cdk %s: %v\n%s", strings.Join(args, " "), err, out)
				}
				return string(out)
			}
			run("bootstrap")
			output := run("deploy", "--require-approval", "never")
			if status, _ := c.stack("Lastwill"); status != "CREATE_COMPLETE" {
				t.Errorf("stack is %s:\n%s", status, output)
			}
			for _, noise := range []string{"end-of-life", "has not been tested", "waitid", "DeprecationWarning"} {
				if strings.Contains(output, noise) {
					t.Errorf("%q on the user's screen:\n%s", noise, output)
				}
			}
			c.confirm("ops@example.com")
			run("destroy", "--force")
			c.nothingLeft("Lastwill")
		})
	}
}
