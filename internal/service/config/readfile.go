package config

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

// MaxFile limits the size of a configuration file, in bytes: a hundred thousand users
// with all limits.
const MaxFile = 64 << 20

// ReadFile reads a configuration file, which has at most MaxFile bytes.
//
// A file that is truncated and written meanwhile would be read in part, so a regular file
// is read until it is twice the same. A FIFO must be written and closed within pipeTime.
func ReadFile(path string) ([]byte, error) {
	for range readings {
		data, regular, err := readOnce(path)
		if err != nil || !regular {
			return data, err
		}
		if len(data) == 0 && isFresh(path) { // truncated, and about to be written
			time.Sleep(emptyPause)
			continue
		}
		if same, err := has(path, data); err != nil || same {
			return data, err
		}
	}
	return nil, fmt.Errorf("%s: the file is being written", path)
}

// ReadKeyPair reads the files of a certificate chain and its key, both in PEM.
func ReadKeyPair(cert, key string) (pair tls.Certificate, err error) {
	chain, err := ReadFile(cert)
	if err != nil {
		return pair, err
	}
	private, err := ReadFile(key)
	if err != nil {
		return pair, err
	}
	return tls.X509KeyPair(chain, private)
}

// emptyPause is the time between two readings of an empty file that was changed less than
// freshTime ago.
const emptyPause, freshTime = 20 * time.Millisecond, 200 * time.Millisecond

func isFresh(path string) bool {
	info, err := os.Stat(path)
	return err == nil && time.Since(info.ModTime()).Abs() < freshTime
}

// has reports whether a file has this text, and no more.
func has(path string, data []byte) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	part := make([]byte, 64<<10)
	for {
		n, err := f.Read(part)
		if !bytes.HasPrefix(data, part[:n]) {
			return false, nil
		}
		data = data[n:]
		switch {
		case err == io.EOF:
			return len(data) == 0, nil
		case err != nil:
			return false, err
		}
	}
}

// readings is how often a file is read again that has changed since it was read.
const readings = 20

// readOnce reads a file, and reports whether it can be read again.
func readOnce(path string) (data []byte, regular bool, err error) {
	if info, err := os.Stat(path); err == nil && info.Mode()&fs.ModeNamedPipe != 0 {
		data, err = readPipe(path, pipeTime)
		return data, false, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, false, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, false, err
	}
	text := new(bytes.Buffer)
	text.Grow(int(min(max(info.Size(), 0), MaxFile)) + bytes.MinRead)
	_, err = text.ReadFrom(io.LimitReader(f, MaxFile+1))
	if err == nil {
		err = checkSize(path, text)
	}
	return text.Bytes(), info.Mode().IsRegular(), err
}

func checkSize(path string, text *bytes.Buffer) error {
	if text.Len() > MaxFile {
		return fmt.Errorf("%s: the file has more than %d MiB", path, MaxFile>>20)
	}
	return nil
}

// pipeTime is how long the writer of a FIFO may take. A reload, for which others wait, may
// find one that has no writer, such as that of a shell's <(command), which is read once.
const pipeTime = 15 * time.Second

// pipePause is the time between two looks whether a FIFO has a writer.
const pipePause = 20 * time.Millisecond

// readPipe reads a FIFO until its writer closes it, within limit. It waits for the first byte:
// no byte means that no writer has opened the FIFO yet, unless one is known to have closed it.
func readPipe(path string, limit time.Duration) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|openNow, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	end := time.Now().Add(limit)
	_ = f.SetReadDeadline(end) // without it a read that has nothing returns EAGAIN
	text := new(bytes.Buffer)
	for {
		_, err := text.ReadFrom(io.LimitReader(f, int64(MaxFile+1-text.Len())))
		late := !time.Now().Before(end)
		switch {
		case err == nil && text.Len() > 0:
			return text.Bytes(), checkSize(path, text)
		case err == nil && hasEnded(f):
			return nil, fmt.Errorf("%s: it is a FIFO that was closed without a byte: the program that writes it may have failed", path)
		case errors.Is(err, os.ErrDeadlineExceeded), late:
			return nil, fmt.Errorf("%s: it is a FIFO that no program has written and closed in %v", path, limit)
		case err != nil && !isAgain(err):
			return nil, err
		}
		time.Sleep(pipePause)
	}
}
