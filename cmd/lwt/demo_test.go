package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Whoever reads where to look finds something there.
func TestEveryStepOfTheDemoNamesAPlaceThatExists(t *testing.T) {
	t.Parallel()
	place := regexp.MustCompile(`\b(?:internal|constructs|infra|cmd)/[\w./-]*\w`)
	for _, step := range (&demo{}).steps() {
		for _, path := range place.FindAllString(step.look, -1) {
			if _, err := os.Stat(filepath.Join("..", "..", filepath.FromSlash(path))); err != nil {
				t.Errorf("step %q: %v", step.name, err)
			}
		}
		if strings.TrimSpace(step.look) == "" {
			t.Errorf("step %q names no place to look", step.name)
		}
	}
}
