package monitoring

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
)

// ContextFile is the file from which the CDK CLI took a value of the context. It is
// empty for a value of the command line: the CLI hands on one context and does not
// say where its values were. A value of the command line that the file has too counts
// as the file's.
func ContextFile(key string, value any) string {
	for _, file := range contextFiles() {
		if found, ok := file.values()[key]; ok {
			if reflect.DeepEqual(found, value) || fmt.Sprint(found) == value {
				return file.shown
			}
			return "" // the command line wins
		}
	}
	return ""
}

type contextFile struct {
	path, shown string
	// within is the key that the context is below. Default: it is the whole file.
	within string
}

// contextFiles are in the order in which the CDK CLI lets them win (CDK developer
// guide, "Save and retrieve context variable values").
func contextFiles() []contextFile {
	files := []contextFile{
		{path: "cdk.json", shown: "cdk.json", within: "context"},
		{path: "cdk.context.json", shown: "cdk.context.json"},
	}
	if home, err := os.UserHomeDir(); err == nil {
		files = append(files, contextFile{path: filepath.Join(home, ".cdk.json"), shown: "~/.cdk.json", within: "context"})
	}
	return files
}

// values are none if the file cannot be read, which is the CLI's to report.
func (f contextFile) values() map[string]any {
	var content map[string]any
	if b, err := os.ReadFile(f.path); err != nil || json.Unmarshal(b, &content) != nil || f.within == "" {
		return content
	}
	values, _ := content[f.within].(map[string]any)
	return values
}
