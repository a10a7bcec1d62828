//go:build !unix

package localaws

import "os"

// lockDir does nothing where there is no flock: nobody is kept out.
func lockDir(string) (*os.File, error) { return nil, nil }
