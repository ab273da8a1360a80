package tlswire

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"regexp"
	"strings"
)

// Describe returns a server's bytes as lines of text that are equal for two
// answers that an observer cannot tell apart. It masks only what a server chooses
// at random:
//
//   - in a ServerHello, the random and the key share. The session ID is described by
//     whether it is sessionID, the client's;
//   - in a message of a key exchange of TLS 1.2, the key and the signature;
//   - the content of encrypted records, but not their type, version and length;
//   - in text, a date as HTTP has it.
//
// Everything else is in the lines, also how messages are divided into records.
func Describe(b, sessionID []byte) (lines []string) {
	d := describer{sessionID: sessionID}
	records, rest := Records(b)
	for _, r := range records {
		d.record(r)
	}
	if len(d.messages) > 0 {
		d.add("  part of a message: %x", d.messages)
	}
	if len(rest) > 0 {
		d.lines = append(d.lines, describeText(rest)...)
	}
	return d.lines
}

type describer struct {
	sessionID []byte
	encrypted bool   // after the server's ChangeCipherSpec or first encrypted record
	messages  []byte // the plain handshake messages that are not complete
	lines     []string
}

func (d *describer) add(format string, args ...any) {
	d.lines = append(d.lines, fmt.Sprintf(format, args...))
}

func (d *describer) record(r Record) {
	missing := ""
	if r.Missing > 0 {
		missing = fmt.Sprintf(" of %d", len(r.Body)+r.Missing)
	}
	name := map[byte]string{TypeCCS: "ccs", TypeAlert: "alert", TypeHandshake: "handshake", TypeData: "data", TypeHeartbeat: "heartbeat"}[r.Type]
	switch {
	case r.Type == TypeAlert && len(r.Body) == 2: // an encrypted one is longer
		d.add("alert %04x: %d %d", r.Version, r.Body[0], r.Body[1])
	case r.Type == TypeHandshake && !d.encrypted:
		d.add("%s %04x: %d%s", name, r.Version, len(r.Body), missing)
		d.messages = append(d.messages, r.Body...)
		d.handshake()
	default:
		d.add("%s %04x: %d%s", name, r.Version, len(r.Body), missing)
		d.encrypted = d.encrypted || r.Type == TypeCCS || r.Type == TypeData
	}
}

// handshake describes the complete ones of d.messages, and removes them.
func (d *describer) handshake() {
	for len(d.messages) >= 4 {
		n := 4 + int(binary.BigEndian.Uint32(d.messages)&0xffffff)
		if len(d.messages) < n {
			return
		}
		d.message(d.messages[:n])
		d.messages = d.messages[n:]
	}
}

// Messages of TLS 1.2.
//
// Specification: https://www.rfc-editor.org/rfc/rfc5246#section-7.4
const (
	typeServerKeyExchange = 12
)

func (d *describer) message(m []byte) {
	switch m[0] {
	case typeServerHello:
		h, err := ParseServerHello(m)
		if err != nil {
			d.add("  malformed ServerHello: %x", m)
			return
		}
		d.serverHello(h)
	case typeServerKeyExchange:
		// curve_type, named_curve, length of the key; the signature's algorithm
		// is after the key.
		head := m[4:min(len(m), 8)]
		algorithm := []byte{}
		if len(head) == 4 && len(m) >= 8+int(head[3])+2 {
			algorithm = m[8+int(head[3]):][:2]
		}
		d.add("  message 12: %d, %x, algorithm %x", len(m), head, algorithm)
	default:
		d.add("  message %d: %d, sha256 %x", m[0], len(m), sum(m))
	}
}

func (d *describer) serverHello(h ServerHello) {
	name := "ServerHello"
	if h.IsRetry() {
		name = "HelloRetryRequest"
	}
	id := fmt.Sprintf("of %d bytes", len(h.SessionID))
	if bytes.Equal(h.SessionID, d.sessionID) {
		id = "the client's"
	}
	var extensions []string
	for _, e := range h.Extensions {
		body := fmt.Sprintf("%x", e.Body)
		if e.ID == extensionKeyShare && len(e.Body) > 4 {
			body = fmt.Sprintf("%x, %d", e.Body[:4], len(e.Body)-4)
		}
		extensions = append(extensions, fmt.Sprintf("%04x(%s)", e.ID, body))
	}
	d.add("  %s %04x, session ID %s, suite %04x, extensions %s", name, h.Version, id, h.Suite, strings.Join(extensions, " "))
}

func sum(b []byte) []byte {
	s := sha256.Sum256(b)
	return s[:6]
}

// Merge returns the lines of Describe with successive encrypted records as one
// line that has the sum of their lengths on the wire, less one header: as long as
// one record with the same bytes.
func Merge(lines []string) (merged []string) {
	total, open := 0, false
	flush := func() {
		if open {
			merged = append(merged, fmt.Sprintf("data: %d in total", total-HeaderLength))
		}
		total, open = 0, false
	}
	for _, line := range lines {
		var version, length int
		if n, _ := fmt.Sscanf(line, "data %x: %d", &version, &length); n == 2 && !strings.Contains(line, "of") {
			total, open = total+HeaderLength+length, true
			continue
		}
		flush()
		merged = append(merged, line)
	}
	flush()
	return merged
}

// date matches an HTTP date.
//
// Specification: https://www.rfc-editor.org/rfc/rfc9110#section-5.6.7
var date = regexp.MustCompile(`\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT`)

// maxText is the number of bytes of a text that Describe returns as they are.
const maxText = 2048

// describeText describes bytes that are no TLS.
func describeText(b []byte) []string {
	b = date.ReplaceAll(b, []byte("DATE"))
	if len(b) > maxText {
		return []string{fmt.Sprintf("%q and so on, %d bytes, sha256 %x", b[:80], len(b), sum(b))}
	}
	var lines []string
	for line := range bytes.Lines(b) {
		lines = append(lines, fmt.Sprintf("%q", line))
	}
	return lines
}
