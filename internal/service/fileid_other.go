//go:build !unix

package service

import "os"

// fileID returns zeros: there are no upgrades here.
func fileID(os.FileInfo) (device, inode uint64) { return 0, 0 }
