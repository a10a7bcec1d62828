package conformance

import (
	"os"
	"testing"

	"lastwill/internal/iotsql/casefile"
)

func TestStatements(t *testing.T) {
	t.Parallel()
	file, err := os.Open("testdata/statements.cases")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	cases, err := casefile.Parse(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		t.Run(c.Source()+": "+c.Name, func(t *testing.T) {
			t.Parallel()
			if c.Source() == "" {
				t.Error("the case names no page")
			}
			if err := c.Run(); err != nil {
				t.Errorf("statements.cases:%d: %v", c.Line, err)
			}
		})
	}
}
