package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/internal/drain"
	"github.com/mtwire/mtwire/internal/loopback"
	"github.com/mtwire/mtwire/internal/route"
	"github.com/mtwire/mtwire/internal/service/upgrade"
	"github.com/mtwire/mtwire/internal/service/watch"
	"github.com/mtwire/mtwire/mtwiretest"
	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(tests{m}, map[string]func(){"mtwire": func() {
		dieAtStep()
		speakProtocol()
		waitLonger()
		shortenUpgrades()
		limitSteps()
		speakOtherVersion()
		os.Exit(run())
	}})
}

// tests are the tests of this package. Those that run at the same time mostly wait for
// processes, so there may be more than processors.
type tests struct{ *testing.M }

// Run runs the tests. Under the race detector a process sleeps for a second at its end, in
// which goroutines that are left may race. The commands of the tests, some 250, sleep for
// less.
// Specification: https://go.dev/doc/articles/race_detector#Options
func (m tests) Run() int {
	flag.Parse()
	if os.Getenv(raceVariable) == "" {
		os.Setenv(raceVariable, "atexit_sleep_ms=20")
	}
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	return m.M.Run()
}

// raceVariable has the options of the race detector.
const raceVariable = "GORACE"

// patience is how long a test waits for what must happen. It ends a test that hangs, and is
// more than a slow machine takes.
const patience = time.Minute

// stepVariable names the step at which a process of an upgrade is to end, as by kill -9, or to
// stop with "stop " in front, as by kill -STOP, or to get SIGTERM with "term " in front.
const stepVariable = "MTWIRE_TEST_STEP"

// hangVariable names the step at which it is to hang.
const hangVariable = "MTWIRE_TEST_HANG"

// protocolVariable has the highest version of an upgrade's protocol that a process speaks.
const protocolVariable = "MTWIRE_TEST_PROTOCOL"

func speakProtocol() {
	if version, err := strconv.ParseUint(os.Getenv(protocolVariable), 10, 16); err == nil {
		upgrade.HighestVersion = uint16(version)
	}
}

// dieAtStep has the process end or hang at the step that a variable names.
func dieAtStep() {
	last, hang := os.Getenv(stepVariable), os.Getenv(hangVariable)
	last, stops := strings.CutPrefix(last, "stop ")
	last, terminates := strings.CutPrefix(last, "term ")
	if own, err := os.FindProcess(os.Getpid()); last+hang != "" && err == nil {
		upgrade.Step = func(name string) {
			switch {
			case name == last && stops:
				stopProcess(own)
			case name == last && terminates:
				own.Signal(syscall.SIGTERM)
				time.Sleep(20 * time.Millisecond) // until the signal has an effect
			case name == last:
				own.Kill()
			case name == hang:
				time.Sleep(time.Hour) // until it is killed
			}
		}
	}
}

// checkVariable has the time limit of a new program's check of the configuration.
const checkVariable = "MTWIRE_TEST_CHECK"

// trialVariable has how long a new process is on trial.
const trialVariable = "MTWIRE_TEST_TRIAL"

// limitsVariable names a file with two time limits of an upgrade: until the new process is
// ready, and of each step after that. It is read when one begins; without the file, the usual
// limits hold. So a test limits the upgrade that is to hang, and not those of a slow machine.
const limitsVariable = "MTWIRE_TEST_LIMITS"

func limitSteps() {
	file := os.Getenv(limitsVariable)
	if file == "" {
		return
	}
	usual, before := upgrade.Timeouts, upgrade.Step
	upgrade.Step = func(name string) {
		if name == "old started" {
			upgrade.Timeouts = usual
			if text, err := os.ReadFile(file); err == nil {
				start, step, _ := strings.Cut(string(text), " ")
				upgrade.Timeouts.Start, _ = time.ParseDuration(start)
				upgrade.Timeouts.Step, _ = time.ParseDuration(step)
			}
		}
		if before != nil {
			before(name)
		}
	}
}

// patientVariable has a process wait longer for what a slow machine does in the end: until a
// session that is idle is closed, the other process of an upgrade answers, a session that moves
// bytes has moved, a file that is missing or empty is read, and another upstream is tried.
// Its value is the first of these times. The others are as long as patience.
const patientVariable = "MTWIRE_TEST_PATIENT"

func waitLonger() {
	if idle, err := time.ParseDuration(os.Getenv(patientVariable)); err == nil {
		drain.IdleTime, watch.Longest = idle, patience
		route.SetAttemptDelays(patience)
		upgrade.Timeouts.Start, upgrade.Timeouts.Step, upgrade.Timeouts.Move = patience, patience, patience
	}
}

func shortenUpgrades() {
	if limit, err := time.ParseDuration(os.Getenv(trialVariable)); err == nil {
		upgrade.TrialTime = limit
	}
	if limit, err := time.ParseDuration(os.Getenv(checkVariable)); err == nil {
		upgrade.Timeouts.Check = limit
	}
}

// otherVersionVariable has a process that is to take over answer with a version of the
// protocol which no process speaks.
const otherVersionVariable = "MTWIRE_TEST_VERSION"

func speakOtherVersion() {
	fd, err := strconv.Atoi(os.Getenv(upgrade.Variable))
	if err != nil || os.Getenv(otherVersionVariable) == "" {
		return
	}
	socket := os.NewFile(uintptr(fd), "upgrade")
	socket.Read(make([]byte, 100))
	socket.Write([]byte{2, 0x4d, 0x4d})
	io.Copy(io.Discard, socket) // until the other process has closed it
	os.Exit(0)
}

// scriptCommands are the commands that scripts have besides those of testscript.
var scriptCommands = map[string]func(*testscript.TestScript, bool, []string){"ask": ask, "reach": reach, "logged": logged, "stun": serveSTUN, "askprinted": askPrinted}

// The scripts of testdata run the binary and check its output and exit code.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			env.Setenv(raceVariable, os.Getenv(raceVariable))
			env.Setenv("XDG_STATE_HOME", filepath.Join(env.WorkDir, "home")) // scripts run at the same time
			for _, name := range []string{"DC", "PROXY"} {
				address, err := loopback.FreeAddress()
				if err != nil {
					return err
				}
				env.Setenv(name, address)
				_, port, _ := net.SplitHostPort(address)
				env.Setenv(name+"_PORT", port)
			}
			return nil
		},
		Cmds: scriptCommands,
	})
}

// ask URL sends req_pq_multi to an endpoint, until resPQ is the answer. With ! it
// sends it once, and there must be no answer.
func ask(ts *testscript.TestScript, neg bool, args []string) {
	if neg && len(args) == 1 {
		if askOnce(context.Background(), args[0]) == nil {
			ts.Fatalf("an answer from %s", args[0])
		}
		return
	}
	until(ts, neg, args, askOnce)
}

// askPrinted FILE asks each link in a file that mtwire has printed links to.
func askPrinted(ts *testscript.TestScript, neg bool, args []string) {
	for line := range strings.Lines(ts.ReadFile(args[0])) {
		fields := strings.Fields(line)
		ask(ts, neg, fields[len(fields)-1:])
	}
}

// reach ADDRESS waits until a process listens there.
func reach(ts *testscript.TestScript, neg bool, args []string) {
	until(ts, neg, args, func(ctx context.Context, address string) error {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err == nil {
			conn.Close()
		}
		return err
	})
}

// logged FILE TEXT waits until the file has the text.
func logged(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("want a file and a text")
	}
	until(ts, neg, args[:1], func(_ context.Context, file string) error {
		text, err := os.ReadFile(ts.MkAbs(file))
		if err == nil && !bytes.Contains(text, []byte(args[1])) {
			err = fmt.Errorf("%s: %s", file, text)
		}
		return err
	})
}

// until calls try until it succeeds, for at most 20 seconds.
func until(ts *testscript.TestScript, neg bool, args []string, try func(context.Context, string) error) {
	if len(args) != 1 || neg {
		ts.Fatalf("want one argument")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for {
		err := try(ctx, args[0])
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			ts.Fatalf("%v", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// askOnce sends req_pq_multi once.
func askOnce(ctx context.Context, url string) error { return askWithin(ctx, 2*time.Second, url) }

func askWithin(ctx context.Context, limit time.Duration, url string) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	conn, err := mtwire.Dial(ctx, url, nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	return requestPQ(ctx, conn)
}

// requestPQ sends req_pq_multi and receives resPQ.
func requestPQ(ctx context.Context, conn *mtwire.Conn) error {
	var nonce [16]byte
	rand.Read(nonce[:])
	if err := conn.Send(ctx, mtwiretest.AppendReqPQ(nil, nonce, nil)); err != nil {
		return err
	}
	p, err := conn.Receive(ctx)
	if err != nil {
		return err
	}
	return mtwiretest.CheckResPQ(p.Payload, nonce)
}
