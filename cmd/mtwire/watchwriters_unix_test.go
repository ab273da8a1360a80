//go:build unix

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// watchedFiles is a directory with a configuration file, a list of networks that it names,
// and the log of a proxy that has them.
type watchedFiles struct {
	*server
	t               *testing.T
	file, list, log string
}

// watchFilesOf starts a proxy that watches files, with change before its start.
func watchFilesOf(t *testing.T, change func(*exec.Cmd)) *watchedFiles {
	t.Helper()
	dir := t.TempDir()
	w := &watchedFiles{t: t, file: filepath.Join(dir, "mtwire.toml"), list: filepath.Join(dir, "block"), log: filepath.Join(dir, "log")}
	w.write(w.file, w.text(watchedBob))
	w.write(w.list, "192.0.2.0/24\n")
	w.server = startServer(t, change, "--config", w.file, "--log-file", w.log)
	w.ask(t) // it has read the files
	return w
}

func (w *watchedFiles) text(secret string) string {
	return "block = ['block']\n[[user]]\nname = 'bob'\nsecret = '" + secret + "'\n"
}

func (w *watchedFiles) write(path, text string) {
	w.t.Helper()
	w.do(os.WriteFile(path, []byte(text), 0o600))
}

func (w *watchedFiles) do(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// stopped ends the proxy, and checks how often it has read the configuration again, and how
// many errors it has logged.
func (w *watchedFiles) stopped(read, errors int) {
	w.t.Helper()
	w.do(w.stop(w.t, syscall.SIGTERM))
	if n := countLines(w.t, w.log, "read the configuration again"); n != read {
		w.t.Errorf("the configuration was read again %d times, want %d", n, read)
	}
	if n := countLines(w.t, w.log, "level=ERROR"); n != errors {
		w.t.Errorf("%d errors, want %d", n, errors)
	}
}

// during lets time pass, which the watcher of another process takes.
func during(d time.Duration) { <-time.After(d) }

// While the configuration file is wrong, a list that it names may change: the log has the
// error once for each contents, and not at each look.
func TestAnErrorIsLoggedOnceForEachContents(t *testing.T) {
	t.Parallel()
	w := watchFilesOf(t, patient)
	w.write(w.file, "drian = 7\n")
	eventually(t, "an error", func() bool { return countLines(t, w.log, "level=ERROR") == 1 })
	w.write(w.list, "198.51.100.0/24\n")
	eventually(t, "another error", func() bool { return countLines(t, w.log, "level=ERROR") == 2 })
	during(4 * time.Second)
	w.write(w.file, w.text(watchedCarol))
	w.awaitServing(t, "the file", watchedCarol)
	w.stopped(1, 2)
}

// An editor may rename the file away, write another one and remove the old one, as vim
// does; or truncate it and write it a second later. Neither is an error, and each is read
// once.
func TestWritersOfTheConfigurationFile(t *testing.T) {
	t.Parallel()
	w := watchFilesOf(t, patient)
	w.do(os.Rename(w.file, w.file+"~"))
	during(time.Second)
	w.write(w.file, w.text(watchedCarol))
	w.do(os.Remove(w.file + "~"))
	w.awaitServing(t, "the file of the editor", watchedCarol)
	w.write(w.file, "")
	during(time.Second)
	w.write(w.file, w.text(watchedBob))
	w.awaitServing(t, "the file that was empty", watchedBob)
	w.stopped(2, 0)
}

// A file that is written slowly, and is wrong until it is complete, changes nothing before.
func TestAFileThatIsWrittenSlowly(t *testing.T) {
	t.Parallel()
	w := watchFilesOf(t, patient)
	text := w.text(watchedCarol)
	f, err := os.Create(w.file)
	w.do(err)
	defer f.Close()
	_, err = f.WriteString(text[:len(text)-10])
	w.do(err)
	eventually(t, "an error", func() bool { return countLines(t, w.log, "level=ERROR") > 0 })
	if !w.serves(t, watchedBob) {
		t.Error("half a file has an effect")
	}
	_, err = f.WriteString(text[len(text)-10:])
	w.do(err)
	w.awaitServing(t, "the whole file", watchedCarol)
	w.stopped(1, countLines(t, w.log, "level=ERROR"))
}

// A hundred writes in a second are few changes, one in each second at most, and the last one is
// in force.
func TestManyWritesAreFewReloads(t *testing.T) {
	t.Parallel()
	w := watchFilesOf(t, nil)
	const last = "dd303132333435363738393a3b3c3d3e3f"
	begin := time.Now()
	for i := range 100 {
		w.write(w.file+".new", w.text([]string{watchedBob, watchedCarol, last}[max(i%2, i/99*2)]))
		w.do(os.Rename(w.file+".new", w.file))
		during(10 * time.Millisecond)
	}
	most := 2 + int(time.Since(begin)/time.Second) // 3, on a machine that is quick enough
	w.awaitServing(t, "the last file", last)
	if n := countLines(t, w.log, "read the configuration again"); n > most {
		t.Errorf("the configuration was read again %d times, want %d at most", n, most)
	}
}
