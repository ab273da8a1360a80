package service

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// Only the program's read-only mappings are dropped, and none that has pages of its own:
// those of a position-independent program have relocations, and a debugger's have
// breakpoints.
func TestOnlyUnchangedPagesOfTheProgramAreDropped(t *testing.T) {
	entry := func(line, anonymous, swap string) string {
		return line + "\nSize:  4 kB\nRss:  4 kB\nAnonymous:  " + anonymous +
			" kB\nSwap:  " + swap + " kB\nSwapPss:  0 kB\nVmFlags: rd ex mr\n"
	}
	smaps := entry("00400000-0091b000 r-xp 00000000 fe:00 103554     /bin/mtwire", "0", "0") +
		entry("0091b000-00e66000 r--p 0051b000 fe:00 103554     /bin/mtwire", "0", "0") +
		entry("01000000-01001000 r--p 0051b000 fe:00 103554     /bin/mtwire", "4", "0") +
		entry("01001000-01002000 r--p 0051b000 fe:00 103554     /bin/mtwire", "0", "4") +
		entry("01002000-01003000 rw-p 00a66000 fe:00 103554     /bin/mtwire", "0", "0") +
		entry("01003000-01004000 r-xp 00a66000 fe:00 103554     /bin/mtwire (deleted)", "0", "0") +
		entry("01004000-01005000 r-xp 00a66000 fe:00 103554     /lib/libc.so", "0", "0") +
		entry("01005000-01006000 rw-p 00000000 00:00 0 ", "4", "0") +
		entry("ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0   [vsyscall]", "0", "0") +
		"02000000-02001000 r-xp 00000000 fe:00 103554     /bin/mtwire\nSize: 4 kB\n" // of a kernel that does not tell
	want := []mapping{{0x400000, 0x91b000}, {0x91b000, 0xe66000}}
	if got := unchangedMappings(strings.NewReader(smaps), "/bin/mtwire"); !slices.Equal(got, want) {
		t.Errorf("%x, want %x", got, want)
	}
}

// The program goes on after its pages were dropped, and has fewer of them.
func TestProgramPagesAreDropped(t *testing.T) {
	dropProgramPages()
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	smaps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	if len(unchangedMappings(strings.NewReader(string(smaps)), program)) == 0 {
		t.Error("none of the program's mappings can be dropped")
	}
}
