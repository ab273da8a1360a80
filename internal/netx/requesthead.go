package netx

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
)

// ErrRequestHead is wrapped by the errors of RequestHead.
var ErrRequestHead = errors.New("malformed request head")

// RequestHead checks the head of one HTTP/1 request line by line, as it arrives and
// before net/http parses it. It refuses what http.ReadRequest accepts and an
// http.Server does not, and in addition everything that two parsers may read
// differently, so that a request cannot be smuggled past a reverse proxy:
//
//   - lines that do not end with CR LF, or have another CR
//   - header lines that continue the one before (obs-fold)
//   - white space between a header's name and its colon
//   - Content-Length together with Transfer-Encoding
//   - characters that no Host has
//
// A head without Host is accepted. The zero value is ready for use.
//
// Specification: https://www.rfc-editor.org/rfc/rfc9112
type RequestHead struct {
	lines                           int
	partial                         []byte // of a line that has not arrived in full
	contentLength, transferEncoding bool
	complete                        bool
}

// Check checks b, the next bytes of the connection. It returns how many of them the
// parser may have: all of them, or those before the first bad line and an error
// that wraps ErrRequestHead. Bytes after the head are not checked. The caller
// limits the length of the head.
func (h *RequestHead) Check(b []byte) (n int, err error) {
	for !h.complete && n < len(b) {
		end := bytes.IndexByte(b[n:], '\n') + 1
		if end == 0 {
			h.partial = append(h.partial, b[n:]...)
			break
		}
		line := b[n : n+end]
		if len(h.partial) > 0 {
			line = append(h.partial, line...)
			h.partial = h.partial[:0]
		}
		if err := h.checkLine(line); err != nil {
			return n, err
		}
		n += end
	}
	return len(b), nil
}

// hostCharacters are the characters other than letters and digits that an
// http.Server accepts in a Host.
const hostCharacters = "!$%&()*+,-.:;=[]'_~"

func (h *RequestHead) checkLine(line []byte) error {
	line, ok := bytes.CutSuffix(line, []byte("\r\n"))
	if !ok || bytes.IndexByte(line, '\r') >= 0 {
		return fmt.Errorf("%w: a line does not end with CR LF", ErrRequestHead)
	}
	if h.lines++; h.lines == 1 {
		return nil // the parser checks the request line
	}
	if len(line) == 0 {
		h.complete, h.partial = true, nil
		return nil
	}
	if line[0] == ' ' || line[0] == '\t' {
		return fmt.Errorf("%w: a folded line", ErrRequestHead)
	}
	name, value, _ := bytes.Cut(line, []byte(":"))
	if bytes.ContainsAny(name, " \t") {
		return fmt.Errorf("%w: white space in the name of a header", ErrRequestHead)
	}
	switch {
	case bytes.EqualFold(name, []byte("Content-Length")):
		h.contentLength = true
	case bytes.EqualFold(name, []byte("Transfer-Encoding")):
		h.transferEncoding = true
	case bytes.EqualFold(name, []byte("Host")):
		if bytes.ContainsFunc(bytes.Trim(value, " \t"), isNoHostCharacter) {
			return fmt.Errorf("%w: a character that no Host has", ErrRequestHead)
		}
	}
	if h.contentLength && h.transferEncoding {
		return fmt.Errorf("%w: Content-Length with Transfer-Encoding", ErrRequestHead)
	}
	return nil
}

func isNoHostCharacter(r rune) bool {
	letterOrDigit := '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
	return !letterOrDigit && !strings.ContainsRune(hostCharacters, r)
}
