//go:build linux

package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// memory is the resident memory of one or both processes: the bytes of their own pages, and
// the pages of files that they map, by file and offset. What both map is in memory once. The
// memory of sockets is the kernel's; both processes have the same sockets.
//
// The kernel's proportional set size (PSS) would be the same if both processes could be read
// at one moment. Both give up pages of files while sessions move and map them again, and a
// page that counts as a whole in one of them, and a moment later as a half in the other,
// would be too much.
type memory struct {
	anonymous float64
	file      map[filePage]struct{}
}

// filePage is a page of a file: its device and inode, as in /proc/PID/maps, and its offset.
type filePage struct {
	file   string
	offset int64
}

// fileBytes returns the bytes of the pages of files.
func (m memory) fileBytes() float64 { return float64(len(m.file)) * float64(os.Getpagesize()) }

// sum returns all bytes.
func (m memory) sum() float64 { return m.anonymous + m.fileBytes() }

// memoryOfBoth returns the memory of a process and of the one that takes over from it.
func memoryOfBoth(old int) memory {
	both := memoryOf(old)
	next := child(old)
	if next == 0 || stack(next) == stack(old) {
		return both
	}
	other := memoryOf(next)
	// Memory that the old process has given up meanwhile, for sessions of the other one, would count
	// twice.
	if again := memoryOf(old); again.anonymous < both.anonymous {
		both = again
	}
	both.anonymous += other.anonymous
	for page := range other.file {
		both.file[page] = struct{}{}
	}
	return both
}

// memoryOf returns the memory of a process, none if it has ended.
func memoryOf(pid int) memory {
	m := memory{file: make(map[filePage]struct{})}
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	for line := range strings.Lines(string(text)) {
		fmt.Sscanf(line, "Anonymous: %f kB", &m.anonymous)
	}
	m.anonymous *= 1024
	maps, err := os.Open(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return m
	}
	defer maps.Close()
	pages, err := os.Open(fmt.Sprintf("/proc/%d/pagemap", pid))
	if err != nil {
		return m
	}
	defer pages.Close()
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		m.addFile(lines.Text(), pages)
	}
	return m
}

// addFile adds the resident pages of a mapping, a line of /proc/PID/maps, if it is of a file.
// A page that the process has written to is its own. See proc_pid_pagemap(5).
func (m memory) addFile(mapping string, pagemap *os.File) {
	const present, ofFile = 1 << 63, 1 << 61
	var start, end, offset int64
	var permissions, device, inode, path string
	if n, _ := fmt.Sscanf(mapping, "%x-%x %s %x %s %s %s", &start, &end, &permissions, &offset, &device, &inode, &path); n != 7 || path[0] != '/' {
		return
	}
	size := int64(os.Getpagesize())
	entries := make([]byte, (end-start)/size*8)
	n, _ := pagemap.ReadAt(entries, start/size*8)
	for i := int64(0); i < int64(n/8); i++ {
		if entry := binary.NativeEndian.Uint64(entries[i*8:]); entry&present != 0 && entry&ofFile != 0 {
			m.file[filePage{device + " " + inode, offset + i*size}] = struct{}{}
		}
	}
}

// joinGroup moves a process into the cgroup, and so its children to come.
func joinGroup(pid int) error {
	if *cgroup == "" {
		return nil
	}
	return os.WriteFile(filepath.Join(*cgroup, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0)
}

// groupMemory returns the memory of the cgroup in bytes, as its limit counts it: with the
// kernel's memory, such as that of sockets, and all cached pages of files that its
// processes were the first to read.
func groupMemory() float64 {
	for _, name := range []string{"memory.current", "memory.usage_in_bytes"} { // of version 2, and 1
		if text, err := os.ReadFile(filepath.Join(*cgroup, name)); err == nil {
			n, _ := strconv.ParseFloat(strings.TrimSpace(string(text)), 64)
			return n
		}
	}
	return 0
}

// printMemory prints the memory, and returns the ratios of both processes to one: of all
// resident pages, of their own, and of the cgroup.
func (m *measurement) printMemory() (all, anonymous, group float64) {
	const mib = 1 << 20
	one, both := m.one, m.both
	all, anonymous = both.sum()/one.sum(), m.anonymousBoth/one.anonymous
	fmt.Printf("memory: %.1f MiB of one and %.1f of files, at most %.1f MiB of both and %.1f of files: %.2f times, without files %.2f\n",
		one.anonymous/mib, one.fileBytes()/mib, both.anonymous/mib, both.fileBytes()/mib, all, anonymous)
	if m.groupOne > 0 {
		group = m.groupBoth / m.groupOne
		fmt.Printf("memory of the cgroup: %.1f MiB before, at most %.1f: %.2f times\n", m.groupOne/mib, m.groupBoth/mib, group)
	}
	return all, anonymous, group
}
