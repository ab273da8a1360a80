// Package hook records function entries in a program that calltrace has built.
// It imports the standard library alone, so that every package can import it.
package hook

import (
	"fmt"
	"net"
	"net/rpc"
	"os"
	"runtime"
	"strings"
	"sync"
)

// AddressVariable is the environment variable with the TCP address that the
// program connects to, and serves Recorder on by net/rpc. Without it nothing is
// recorded.
const AddressVariable = "CALLTRACE_ADDRESS"

// Entry is one function entry.
type Entry struct {
	Function  int // index in the table that calltrace made
	Goroutine int
	Depth     int // how many functions of the module are below it on the stack
}

// Recorder keeps the entries until they are taken.
type Recorder struct {
	mu      sync.Mutex
	entries []Entry
}

var recorder *Recorder // nil if nothing is recorded

func init() {
	address := os.Getenv(AddressVariable)
	if address == "" {
		return
	}
	conn, err := net.Dial("tcp", address)
	if err != nil {
		panic(err)
	}
	recorder = new(Recorder)
	if err := rpc.Register(recorder); err != nil {
		panic(err)
	}
	go func() {
		rpc.ServeConn(conn)
		os.Exit(1) // calltrace has ended
	}()
}

// Take returns the entries since the last Take, in order.
func (r *Recorder) Take(_ struct{}, entries *[]Entry) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	*entries, r.entries = r.entries, nil
	return nil
}

// Enter records that its caller is entered.
func Enter(function int) {
	if recorder == nil {
		return
	}
	e := Entry{Function: function}
	var trace [64]byte
	runtime.Stack(trace[:], false)
	if _, err := fmt.Sscanf(string(trace[:]), "goroutine %d ", &e.Goroutine); err != nil {
		panic(err)
	}
	var callers [100]uintptr
	frames := runtime.CallersFrames(callers[:runtime.Callers(3, callers[:])])
	for more := true; more; {
		var f runtime.Frame
		f, more = frames.Next()
		if strings.HasPrefix(f.Function, "main.") || strings.HasPrefix(f.Function, "github.com/mtwire/mtwire") {
			e.Depth++
		}
	}
	recorder.mu.Lock()
	defer recorder.mu.Unlock()
	recorder.entries = append(recorder.entries, e)
}
