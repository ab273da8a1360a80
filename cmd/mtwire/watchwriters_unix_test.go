//go:build unix

package main

import (
	"os"
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

func watchFilesOf(t *testing.T) *watchedFiles {
	dir := t.TempDir()
	w := &watchedFiles{t: t, file: filepath.Join(dir, "mtwire.toml"), list: filepath.Join(dir, "block"), log: filepath.Join(dir, "log")}
	w.write(w.file, w.text(watchedBob))
	w.write(w.list, "192.0.2.0/24\n")
	w.server = startServer(t, nil, "--config", w.file, "--log-file", w.log)
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

func (w *watchedFiles) served(secret string) bool {
	return askOnce(w.t.Context(), "tcp://"+w.address+"?secret="+secret) == nil
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
	w := watchFilesOf(t)
	w.write(w.file, "drian = 7\n")
	eventually(t, "an error", func() bool { return countLines(t, w.log, "level=ERROR") == 1 })
	w.write(w.list, "198.51.100.0/24\n")
	eventually(t, "another error", func() bool { return countLines(t, w.log, "level=ERROR") == 2 })
	during(4 * time.Second)
	w.write(w.file, w.text(watchedCarol))
	eventually(t, "the file", func() bool { return w.served(watchedCarol) })
	w.stopped(1, 2)
}

// An editor may rename the file away, write another one and remove the old one, as vim
// does; or truncate it and write it a second later. Neither is an error, and each is read
// once.
func TestWritersOfTheConfigurationFile(t *testing.T) {
	t.Parallel()
	w := watchFilesOf(t)
	w.do(os.Rename(w.file, w.file+"~"))
	during(time.Second)
	w.write(w.file, w.text(watchedCarol))
	w.do(os.Remove(w.file + "~"))
	eventually(t, "the file of the editor", func() bool { return w.served(watchedCarol) })
	w.write(w.file, "")
	during(time.Second)
	w.write(w.file, w.text(watchedBob))
	eventually(t, "the file that was empty", func() bool { return w.served(watchedBob) })
	w.stopped(2, 0)
}

// A file that is written slowly, and is wrong until it is complete, changes nothing before.
func TestAFileThatIsWrittenSlowly(t *testing.T) {
	t.Parallel()
	w := watchFilesOf(t)
	text := w.text(watchedCarol)
	f, err := os.Create(w.file)
	w.do(err)
	defer f.Close()
	_, err = f.WriteString(text[:len(text)-10])
	w.do(err)
	eventually(t, "an error", func() bool { return countLines(t, w.log, "level=ERROR") > 0 })
	if !w.served(watchedBob) {
		t.Error("half a file has an effect")
	}
	_, err = f.WriteString(text[len(text)-10:])
	w.do(err)
	eventually(t, "the whole file", func() bool { return w.served(watchedCarol) })
	w.stopped(1, countLines(t, w.log, "level=ERROR"))
}

// A hundred writes in a second are few changes, and the last one is in force.
func TestManyWritesAreFewReloads(t *testing.T) {
	t.Parallel()
	w := watchFilesOf(t)
	for i := range 100 {
		w.write(w.file+".new", w.text([]string{watchedBob, watchedCarol}[i%2]))
		w.do(os.Rename(w.file+".new", w.file))
		during(10 * time.Millisecond)
	}
	eventually(t, "the last file", func() bool { return w.served(watchedCarol) })
	if n := countLines(t, w.log, "read the configuration again"); n > 3 {
		t.Errorf("the configuration was read again %d times", n)
	}
}
