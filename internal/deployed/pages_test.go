package deployed_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// onePage are lists that AWS gives whole.
var onePage = []string{
	"internal/leftovers: f.iot.ListPolicyVersions", // five at most
	"internal/leftovers: client.ListTags",          // of a function
	"internal/leftovers: client.ListTagsForResource",
}

// pagers are the rooms that turn pages themselves: the one reads a log's and a
// deployment's latest only, the other acts on each item of a query as it comes.
var pagers = []string{"internal/page/cloud", "internal/outage/dynamo"}

func TestEveryListIsReadToItsEnd(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..")
	calls := 0
	for _, top := range []string{"cmd", "internal"} {
		err := filepath.WalkDir(filepath.Join(root, top), func(path string, entry fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case entry.IsDir() && (entry.Name() == "localaws" || entry.Name() == "testdata"):
				return filepath.SkipDir
			case !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
				return nil
			}
			room, err := filepath.Rel(root, filepath.Dir(path))
			if err != nil || room == filepath.Join("internal", "deployed") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if !ok {
					return true
				}
				name, args := called(call), len(call.Args)
				method := name[strings.LastIndex(name, ".")+1:]
				if name == "deployed.All" {
					calls++
				}
				asks := strings.HasPrefix(method, "List") && args >= 2 && firstIsContext(call)
				if asks && !slices.Contains(onePage, filepath.ToSlash(room)+": "+name) ||
					method == "NextPage" && !slices.Contains(pagers, filepath.ToSlash(room)) {
					t.Errorf("%s calls %s: deployed.All reads all pages", path, name)
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if calls < 15 {
		t.Errorf("%d lists were found", calls)
	}
}

// called is the name of what is called, as it stands in the code.
func called(call *ast.CallExpr) string {
	var parts []string
	at := call.Fun
	for {
		switch e := at.(type) {
		case *ast.SelectorExpr:
			parts, at = append(parts, e.Sel.Name), e.X
			continue
		case *ast.Ident:
			parts = append(parts, e.Name)
		}
		slices.Reverse(parts)
		return strings.Join(parts, ".")
	}
}

func firstIsContext(call *ast.CallExpr) bool {
	first, ok := call.Args[0].(*ast.Ident)
	return ok && first.Name == "ctx"
}
