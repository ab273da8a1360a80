//go:build unix

package service

import (
	"os"
	"syscall"
)

// fileID returns the device and the inode of a file, 0 and 0 of nil.
func fileID(info os.FileInfo) (device, inode uint64) {
	if info == nil {
		return 0, 0
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(stat.Dev), stat.Ino
	}
	return 0, 0
}
