package cli

import (
	"cmp"
	"fmt"
	"runtime/debug"
)

// version is what the build recorded of a program: the version of its module, the commit
// and the Go release.
func version(name string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return name + ": this build recorded no version\n"
	}
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	commit := cmp.Or(settings["vcs.revision"], "not recorded; go build and go install record it in a clone, go run does not")
	if settings["vcs.modified"] == "true" {
		commit += ", with changes"
	}
	return fmt.Sprintf("%s %s\ncommit %s\n%s\n", name, cmp.Or(info.Main.Version, "(devel)"), commit, info.GoVersion)
}
