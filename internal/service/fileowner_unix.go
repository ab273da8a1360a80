//go:build unix

package service

import (
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// ownerOf returns the name of the user that a file belongs to, between before and after,
// or "" if that is not known, or root.
func ownerOf(path, before, after string) string {
	info, err := os.Stat(path)
	if err != nil {
		return ""
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || owner.Uid == 0 {
		return ""
	}
	u, err := user.LookupId(strconv.Itoa(int(owner.Uid)))
	if err != nil {
		return ""
	}
	return before + u.Username + after
}
