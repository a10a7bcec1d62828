//go:build unix

package lambda

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
)

// endWithChildren lets a program end together with what it has started, which gets a
// process group of its own for that.
func endWithChildren(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error {
		err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		if errors.Is(err, syscall.ESRCH) {
			return os.ErrProcessDone
		}
		return err
	}
}
