package service

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// dropProgramPages makes the pages of the program's file not resident: its code and
// constants, of which the start uses most, and the relay little. The next use of a page
// takes it from the page cache, which takes a microsecond. Nothing is lost, because the
// pages are those of the file: a mapping that may be written to, or that has been, stays
// as it is.
func dropProgramPages() { findProgramPages().drop() }

// programPages are the mappings that dropProgramPages drops. To find them takes a millisecond,
// and pages of the program itself.
type programPages []mapping

func findProgramPages() programPages {
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return nil
	}
	smaps, err := os.Open("/proc/self/smaps")
	if err != nil {
		return nil
	}
	defer smaps.Close()
	return unchangedMappings(smaps, program)
}

// drop is dropProgramPages, of mappings that have not changed since they were found.
func (p programPages) drop() {
	for _, m := range p {
		// By the bare system call: the memory is not the runtime's.
		unix.Syscall(unix.SYS_MADVISE, m.start, m.end-m.start, unix.MADV_DONTNEED)
	}
}

// mapping is a range of addresses.
type mapping struct{ start, end uintptr }

// unchangedMappings reads /proc/self/smaps and returns the read-only mappings of a file
// that have no page of their own.
func unchangedMappings(smaps io.Reader, file string) (unchanged []mapping) {
	var m mapping
	readOnly, known, changed := false, 0, false
	finish := func() {
		if readOnly && known == 2 && !changed {
			unchanged = append(unchanged, m)
		}
	}
	lines := bufio.NewScanner(smaps)
	for lines.Scan() {
		line := lines.Text()
		switch key, value, _ := strings.Cut(line, ":"); key {
		case "Anonymous", "Swap":
			known++
			changed = changed || strings.TrimSpace(value) != "0 kB"
			continue
		}
		if line == "" || line[0] >= 'A' && line[0] <= 'Z' { // about the mapping: its own line begins with an address
			continue
		}
		var start, end uintptr
		var permissions, offset, device, inode string
		if n, _ := fmt.Sscanf(line, "%x-%x %s %s %s %s", &start, &end, &permissions, &offset, &device, &inode); n == 6 {
			finish()
			m, known, changed = mapping{start, end}, 0, false
			_, name, _ := strings.Cut(line, " "+inode+" ")
			readOnly = strings.HasPrefix(permissions, "r-") && strings.TrimLeft(name, " ") == file
		}
	}
	finish()
	return unchanged
}
