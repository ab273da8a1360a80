package upgrade

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"
)

// The program before is kept in the state directory for the first minute of an upgrade. If
// the new process crashes in that time, the next start of the new program starts the one
// before in its place, until there is another upgrade or another program.
//
// A file notes what is tried: which program, by its digest, in which process. The new process
// removes it after the minute, and at an end that is none of a crash. So what finds it, when
// that process has gone, is a start after a crash. It is replaced as a whole, and a start
// without it, or with one that is damaged, is as any other.

const (
	previousName = "mtwire.previous" // the program before
	trialName    = "mtwire.trial"    // what is tried
)

// TrialTime is how long a new process is on trial. It is a variable for tests.
var TrialTime = time.Minute

// trial is what is tried, as JSON.
type trial struct {
	New      string `json:"new"`      // SHA-256 of the program, in hex
	Previous string `json:"previous"` // of the one that is kept
	PID      int    `json:"pid"`      // of the new process
	Started  string `json:"started"`  // when that was started, as its system counts time
	Boot     string `json:"boot"`     // of the system, so that its end is no crash
	Crashed  bool   `json:"crashed"`
}

// Keep keeps this process's program in a directory, and notes that the program of another
// process, which is at path, is on trial. It does nothing if both are the same file. The
// caller calls undo if that process has ended and this one goes on.
func Keep(dir string, pid int, path string) (undo func(), err error) {
	undo = func() {}
	own, err := os.Stat(programOf(os.Getpid()))
	if err != nil {
		return undo, err
	}
	program := programOf(pid) // path may be a script that starts it, but not every process may be looked into
	other, err := os.Stat(program)
	if errors.Is(err, fs.ErrPermission) {
		program = path
		other, err = os.Stat(program)
	}
	if err != nil || os.SameFile(own, other) {
		return undo, err
	}
	removeBegun(dir)
	before, _ := readTrial(dir)
	t := trial{PID: pid, Boot: bootID()}
	if t.Started, err = startOf(pid); err != nil {
		return undo, err
	}
	if err := keepProgram(dir, own); err != nil {
		return undo, err
	}
	if t.Previous, err = digestOf(filepath.Join(dir, previousName)); err != nil {
		return undo, err
	}
	if t.New, err = digestOf(program); err != nil {
		return undo, err
	}
	if t.New == t.Previous {
		return undo, os.Remove(filepath.Join(dir, previousName))
	}
	undo = func() {
		if before != nil && before.Previous == t.Previous {
			writeTrial(dir, before)
		} else {
			forget(dir)
		}
	}
	return undo, writeTrial(dir, &t)
}

// removeBegun removes notes that a process was writing when it was killed.
func removeBegun(dir string) {
	begun, _ := filepath.Glob(filepath.Join(dir, trialName+"-*"))
	for _, path := range begun {
		os.Remove(path)
	}
}

// keepProgram keeps this process's program, also if it has no name any more: by a link if
// other users cannot change it, and as a copy otherwise.
func keepProgram(dir string, own os.FileInfo) error {
	kept := filepath.Join(dir, previousName)
	if info, err := os.Stat(kept); err == nil && os.SameFile(info, own) {
		return nil // it is what runs
	}
	next := kept + ".new"
	os.Remove(next)
	defer os.Remove(next)
	if !isTrusted(own) || linkProgram(next) != nil {
		if err := copyProgram(next); err != nil {
			return err
		}
	}
	return os.Rename(next, kept)
}

func copyProgram(to string) error {
	from, err := os.Open(programOf(os.Getpid()))
	if err != nil {
		return err
	}
	defer from.Close()
	file, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o700)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, from)
	return errors.Join(err, file.Sync(), file.Close())
}

// EndTrial ends the trial of this process, if there is one: it has not crashed.
func EndTrial(dir string) {
	if t, err := readTrial(dir); err == nil && t.PID == os.Getpid() && !t.Crashed {
		forget(dir)
	}
}

// forget removes what is noted, and then what is kept.
func forget(dir string) error {
	return errors.Join(os.Remove(filepath.Join(dir, trialName)), os.Remove(filepath.Join(dir, previousName)))
}

// FallBack starts the program that is kept in a directory in the place of this one, and
// does not return, if this one has crashed within a minute after an upgrade to it. Otherwise,
// or if the one before cannot be started, it returns, and this one is to go on. path is where
// this program is, for the log.
func FallBack(dir, path string, log *slog.Logger) {
	t, err := readTrial(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		log.Warn("the note about an upgrade is not used", "file", filepath.Join(dir, trialName), "cause", err)
		os.Remove(filepath.Join(dir, trialName))
		return
	}
	own, err := digestOf(programOf(os.Getpid()))
	switch {
	case err != nil:
		log.Warn("the note about an upgrade is not used", "cause", err)
		return
	case own == t.Previous: // it has been started in the place of the other one, or installed again
		return
	case own != t.New:
		log.Info("there is another program than the one that crashed after an upgrade: it is used")
		forget(dir)
		return
	}
	if !t.Crashed && (t.Boot != bootID() || isStarted(t.PID, t.Started)) {
		return
	}
	if !t.Crashed {
		t.Crashed = true
		if err := writeTrial(dir, t); err != nil {
			log.Warn("the crash of the new program cannot be noted", "cause", err)
		}
	}
	program, err := openKept(dir, t.Previous)
	if err != nil {
		log.Error("the new program has crashed within a minute after its upgrade, and the one before cannot be started in its place", "program", path, "cause", err)
		return
	}
	defer program.Close()
	log.Error("the new program has crashed within a minute after its upgrade: the one before is started in its place, now and at each start",
		"program", path, "before", program.Name(),
		"to_end_this", fmt.Sprintf("install another program at %s, or call mtwire upgrade, or remove %s", path, filepath.Join(dir, trialName)))
	err = execute(program, path)
	log.Error("the program before cannot be started, the new one goes on", "cause", err)
}

var (
	errDigest  = errors.New("it is not the program that was kept")
	errNotOurs = errors.New("another user can change it")
)

// openKept opens the program that is kept, if other users cannot change it and it has that
// digest.
func openKept(dir, digest string) (*os.File, error) {
	file, err := openOwn(filepath.Join(dir, previousName))
	if err == nil {
		var found string
		if found, err = sum(file); err == nil && found != digest {
			err = errDigest
		}
	}
	if file != nil && err != nil {
		file.Close()
	}
	var failed *os.PathError // which has the path
	if errors.As(err, &failed) {
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, previousName), err)
	}
	return file, nil
}

// openOwn opens a regular file that other users cannot change. It does not wait for what is at
// the other end of another kind of file.
func openOwn(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|openNow, 0)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	switch {
	case err != nil:
	case !info.Mode().IsRegular():
		err = errNoFile
	case !isTrusted(info):
		err = errNotOurs
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

func digestOf(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	return sum(file)
}

func sum(file *os.File) (string, error) {
	hash := sha256.New()
	_, err := io.Copy(hash, file)
	return hex.EncodeToString(hash.Sum(nil)), err
}

// readTrial reads what is tried. Another user's note counts for nothing.
func readTrial(dir string) (*trial, error) {
	file, err := openOwn(filepath.Join(dir, trialName))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, 64<<10))
	if err != nil {
		return nil, err
	}
	t := new(trial)
	return t, json.Unmarshal(text, t)
}

// writeTrial replaces what is tried, also if the system ends meanwhile.
func writeTrial(dir string, t *trial) error {
	text, err := json.Marshal(t)
	if err != nil {
		return err
	}
	file, err := os.CreateTemp(dir, trialName+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name()) // after the rename there is none
	_, err = file.Write(append(text, '\n'))
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	if err := os.Rename(file.Name(), filepath.Join(dir, trialName)); err != nil {
		return err
	}
	return syncDirectory(dir)
}
