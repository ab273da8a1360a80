// Package tlswire parses TLS as an observer on the wire sees it, without keys:
// records, the ServerHello with its JA3S and JA4S fingerprints, and a description
// of a server's bytes in which everything random is masked.
package tlswire

import "encoding/binary"

// HeaderLength is the length of a record's header, in bytes.
const HeaderLength = 5

// Content types.
//
// Specification: https://www.rfc-editor.org/rfc/rfc8446#section-5.1
const (
	TypeCCS       = 20
	TypeAlert     = 21
	TypeHandshake = 22
	TypeData      = 23
	TypeHeartbeat = 24
)

// Record is a TLS record. Body refers to the bytes it was parsed from.
type Record struct {
	Type    byte
	Version uint16
	Body    []byte
	// Missing is the number of the body's bytes that did not arrive. It is
	// positive only in the last record of a stream.
	Missing int
}

// Records splits the bytes of a stream into records. rest is what does not begin
// with the first three bytes of a record, or is shorter than a header.
func Records(b []byte) (records []Record, rest []byte) {
	for len(b) >= HeaderLength && IsTLS(b) {
		length := int(binary.BigEndian.Uint16(b[3:]))
		body := b[HeaderLength:]
		body = body[:min(length, len(body))]
		records = append(records, Record{b[0], binary.BigEndian.Uint16(b[1:]), body, length - len(body)})
		b = b[HeaderLength+len(body):]
	}
	return records, b
}

// IsTLS reports whether b begins with a content type of TLS and the major
// version 3.
func IsTLS(b []byte) bool {
	return len(b) >= 2 && b[0] >= TypeCCS && b[0] <= TypeHeartbeat && b[1] == 3
}

// Append appends a record with the body to dst.
func Append(dst []byte, contentType byte, version uint16, body []byte) []byte {
	dst = binary.BigEndian.AppendUint16(append(dst, contentType), version)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(body)))
	return append(dst, body...)
}

// Flight splits the records of a TLS 1.3 server into its first flight, which ends
// with the last encrypted record that arrived before the client answered, and the
// later ones. answered is the number of bytes that had arrived by then.
func Flight(b []byte, answered int) (flight, later []Record) {
	records, _ := Records(b)
	end := 0
	for i, r := range records {
		if end += HeaderLength + len(r.Body); end > answered {
			return records[:i], records[i:]
		}
	}
	return records, nil
}
