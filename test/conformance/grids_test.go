package conformance

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// A grid is one table of testdata/operators.txt or functions.txt: what is made
// of each pair of a row's head and a column's head.
type grid struct {
	operator      string // empty in a table of functions
	version, page string
	file          string
	line          int
	heads         []string
	rows          [][]string // the head, then the cells
}

// readGrids reads the tables of a file. A table begins with a line "operator X,
// version V, page" or "functions, version V, page".
func readGrids(t *testing.T, file string) []*grid {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var grids []*grid
	for i, line := range strings.Split(string(text), "\n") {
		switch {
		case line == "" || line[0] == '#':
		case strings.HasPrefix(line, "operator ") || strings.HasPrefix(line, "functions,"):
			fields := strings.SplitN(line, ", ", 3)
			grids = append(grids, &grid{
				operator: strings.TrimPrefix(strings.TrimPrefix(fields[0], "functions"), "operator "),
				version:  strings.TrimPrefix(fields[1], "version "),
				page:     fields[2],
				file:     file,
				line:     i + 1,
			})
		default:
			grids[len(grids)-1].addRow(line)
		}
	}
	return grids
}

func (g *grid) addRow(line string) {
	cells := strings.Split(line, "|")
	for i := range cells {
		cells[i] = strings.TrimSpace(cells[i])
	}
	if g.heads == nil {
		g.heads = cells[1:]
		return
	}
	g.rows = append(g.rows, cells)
}

func TestGrids(t *testing.T) {
	t.Parallel()
	cases := 0
	for _, file := range []string{"testdata/operators.txt", "testdata/functions.txt"} {
		for _, g := range readGrids(t, file) {
			cases += len(g.rows) * len(g.heads)
			t.Run(fmt.Sprintf("%s, version %s", g.page, g.version), func(t *testing.T) {
				t.Parallel()
				g.check(t)
			})
		}
	}
	t.Logf("%d cases", cases)
}

func (g *grid) check(t *testing.T) {
	for _, row := range g.rows {
		if len(row) != len(g.heads)+1 {
			t.Fatalf("%s, table at line %d: the row %v has %d cells for %d columns", g.file, g.line, row[0], len(row)-1, len(g.heads))
		}
		for i, want := range row[1:] {
			if g.operator == "" {
				g.cell(t, row[0]+"(a)", g.heads[i], "missing", want)
				continue
			}
			g.cell(t, "a "+g.operator+" b", row[0], g.heads[i], want)
		}
	}
}

func (g *grid) cell(t *testing.T, expression, a, b, want string) {
	t.Helper()
	var members []string
	for name, v := range map[string]string{"a": a, "b": b} {
		if v != "missing" {
			members = append(members, fmt.Sprintf("%q: %s", name, v))
		}
	}
	got := valueOf(expression, g.version, "{"+strings.Join(members, ", ")+"}")
	if got != want {
		t.Errorf("%s, table at line %d: %s with a %s, b %s is %s, want %s", g.file, g.line, expression, a, b, got, want)
	}
}
