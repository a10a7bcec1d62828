package synth

import (
	"archive/zip"
	"bytes"
	"debug/elf"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

const maxAssetBytes = 10 << 20

// The asset's key in S3 is the hash of its content: were it different on
// another machine, every deployment from there would change the stack.
func TestTheAssetsAreReproducible(t *testing.T) {
	t.Parallel()
	first, second := build(t), build(t, "GOCACHE="+t.TempDir()) // nothing of the first is used again
	for name, program := range first {
		t.Run(name, func(t *testing.T) { checkAsset(t, program, second[name]) })
	}
}

func checkAsset(t *testing.T, first, second []byte) {
	t.Helper()
	if !bytes.Equal(first, second) {
		t.Error("two folders gave two programs")
	}
	if size := zipped(t, first); size > maxAssetBytes {
		t.Errorf("the asset has %d bytes, at most %d are promised", size, maxAssetBytes)
	}
	program, err := elf.NewFile(bytes.NewReader(first))
	if err != nil {
		t.Fatal(err)
	}
	if libraries, err := program.ImportedLibraries(); err != nil || len(libraries) > 0 {
		t.Errorf("the program needs %v (%v): it must be static, to run on any Linux", libraries, err)
	}
}

// zipped is the size of the asset, which is the program in an archive.
func zipped(t *testing.T, program []byte) int {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	w, err := z.Create("bootstrap")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(program); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Len()
}

// build runs cdk.json's "build" on a copy of the sources in a folder of its own, and returns
// the programs.
func build(t *testing.T, env ...string) map[string][]byte {
	t.Helper()
	config, err := os.ReadFile(filepath.Join(root, "cdk.json"))
	if err != nil {
		t.Fatal(err)
	}
	var app struct{ Build string }
	if err := json.Unmarshal(config, &app); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, folder := range []string{"cmd", "internal"} {
		if err := os.CopyFS(filepath.Join(dir, folder), os.DirFS(filepath.Join(root, folder))); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{"go.mod", "go.sum"} {
		content, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, file), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-c", app.Build)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	programs := map[string][]byte{}
	for name, folder := range map[string]string{"simulator": "linux-amd64", "alerter": "alerter-linux-amd64"} {
		if programs[name], err = os.ReadFile(filepath.Join(dir, "dist", folder, "bootstrap")); err != nil {
			t.Fatal(err)
		}
	}
	return programs
}
