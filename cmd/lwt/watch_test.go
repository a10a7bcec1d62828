package main

import (
	"strings"
	"testing"
)

func TestFiltersThatAWSRefuses(t *testing.T) {
	t.Parallel()
	for filter, wrong := range map[string]string{
		"/last/will/topic": "", "+/a/#": "", "#": "", "": "empty", "a+": "whole level", "a/#/b": "whole last one",
		"a/b#": "whole last one", strings.Repeat("/", 8): "7 slashes", strings.Repeat("a", 257): "256 bytes",
	} {
		if err := checkFilter(filter); wrong == "" && err != nil || wrong != "" && (err == nil || !strings.Contains(err.Error(), wrong)) {
			t.Errorf("%q: %v", filter, err)
		}
	}
}
