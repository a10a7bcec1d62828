package check_test

import (
	"strings"
	"testing"
	"time"

	"lastwill/constructs/check"
)

func TestValidateNamesWhatIsWrong(t *testing.T) {
	err := check.Props{Architecture: "riscv", Limit: time.Second}.Validate()
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		"a check needs the program, the devices and the alert", `architecture "riscv": use x86_64 or arm64`, "limit of 1s: give 10s to 10m0s",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in:\n%v", want, err)
		}
	}
}
