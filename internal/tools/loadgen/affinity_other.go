//go:build !linux

package loadgen

import "os/exec"

func processors(int) ([]int, error) { return nil, errNotLinux }

// StartBeside starts a command.
func StartBeside(cmd *exec.Cmd, _ int) error { return cmd.Start() }
