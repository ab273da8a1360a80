//go:build !unix

package service

import "os"

// giveToOwner does nothing: the files of a directory inherit its permissions.
func giveToOwner(*os.File, string) error { return nil }
