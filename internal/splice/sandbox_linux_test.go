package splice

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// refusal is a system call that a sandbox answers with an error. If argument is
// not 0, the calls are refused in which that argument, counted from 1, is value or,
// if unlike is set, is not value.
type refusal struct {
	number          uint32
	errno           syscall.Errno
	argument, value uint32
	unlike          bool
}

// refusals are what a sandbox may refuse of the system calls of this package. The
// Go runtime needs those of epoll itself, and package net needs getsockopt.
var refusals = map[string]refusal{
	"splice, EPERM":             {number: unix.SYS_SPLICE, errno: unix.EPERM},
	"splice, ENOSYS":            {number: unix.SYS_SPLICE, errno: unix.ENOSYS},
	"splice, EIO":               {number: unix.SYS_SPLICE, errno: unix.EIO},
	"splice from a pipe, EPERM": {unix.SYS_SPLICE, unix.EPERM, 5, maxSplice, true}, // by its length
	"recvmsg, EPERM":            {number: unix.SYS_RECVMSG, errno: unix.EPERM},
	"recvmsg, EACCES":           {number: unix.SYS_RECVMSG, errno: unix.EACCES},
	"recvfrom, EPERM":           {number: unix.SYS_RECVFROM, errno: unix.EPERM},
	"recvfrom, ENOSYS":          {number: unix.SYS_RECVFROM, errno: unix.ENOSYS},
	"sendto, EPERM":             {number: unix.SYS_SENDTO, errno: unix.EPERM},
	"sendto, EIO":               {number: unix.SYS_SENDTO, errno: unix.EIO},
	"pipe2, EPERM":              {number: unix.SYS_PIPE2, errno: unix.EPERM},
	"fcntl F_SETPIPE_SZ":        {unix.SYS_FCNTL, unix.EPERM, 2, unix.F_SETPIPE_SZ, false},
	"ioctl SIOCATMARK":          {unix.SYS_IOCTL, unix.EPERM, 2, unix.SIOCATMARK, false},
	"ppoll":                     {number: unix.SYS_PPOLL, errno: unix.EPERM},
}

// sandboxed names the refusal that is in force in this process.
const sandboxed = "MTWIRE_TEST_SANDBOX"

func TestMain(m *testing.M) {
	if name := os.Getenv(sandboxed); name != "" {
		if err := refuse(refusals[name]); err != nil {
			fmt.Println("seccomp:", err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// refuse makes the kernel refuse a system call for the rest of the process, in all
// of its threads.
func refuse(r refusal) error {
	const number, arguments = 0, 16 // offsets in struct seccomp_data; arguments have 8 bytes, little-endian
	load := func(offset uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
	}
	ifEqual := func(value uint32, skip, skipElse uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: value, Jt: skip, Jf: skipElse}
	}
	answer := func(value uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: value}
	}
	program := []unix.SockFilter{load(number)}
	switch {
	case r.argument == 0:
		program = append(program, ifEqual(r.number, 0, 1))
	case r.unlike:
		program = append(program, ifEqual(r.number, 0, 3), load(arguments+8*(r.argument-1)), ifEqual(r.value, 1, 0))
	default:
		program = append(program, ifEqual(r.number, 0, 3), load(arguments+8*(r.argument-1)), ifEqual(r.value, 0, 1))
	}
	program = append(program, answer(unix.SECCOMP_RET_ERRNO|uint32(r.errno)), answer(unix.SECCOMP_RET_ALLOW))
	filter := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil { // needed unless root
		return err
	}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&filter)))
	if errno != 0 {
		return errno
	}
	return nil
}

// Whatever system call a sandbox refuses, and with whatever error, the bytes are
// moved in another way.
func TestRefusedSystemCallsCutNothing(t *testing.T) {
	const tests = "^(TestEveryTreatmentMovesTheSameBytes|TestBothDirectionsArriveWhole|TestResetEndsBothDirections|" +
		"TestEmptyStreamEndsWithoutAnError|TestSilenceAfterHalfCloseIsCutOff)$"
	for name := range refusals {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			command := exec.Command(os.Args[0], "-test.run="+tests, "-test.count=1", "-test.timeout=1m")
			command.Env = append(os.Environ(), sandboxed+"="+name)
			out, err := command.CombinedOutput()
			if err != nil || !strings.HasPrefix(string(out), "PASS") {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}
