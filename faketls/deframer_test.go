package faketls

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/mtwire/mtwire/frame"
)

func TestDeframerReturnsOnlyTheStreamsBytes(t *testing.T) {
	stream := join([]byte(changeCipherSpec), appendRecords(nil, []byte("one"), 2),
		record(RecordApplicationData, 0), []byte(changeCipherSpec), appendRecords(nil, []byte("two"), 16640))
	for size := 1; size <= len(stream); size++ {
		var d Deframer
		var got []byte
		for piece := range slices.Chunk(bytes.Clone(stream), size) {
			n, err := d.Deframe(piece)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, piece[:n]...)
		}
		if string(got) != "onetwo" || !d.Complete() {
			t.Errorf("pieces of %d: %q, complete %v; want \"onetwo\"", size, got, d.Complete())
		}
	}
}

func TestDeframerIsCompleteOnlyBetweenRecords(t *testing.T) {
	stream := appendRecords(nil, []byte("abc"), 16640)
	var d Deframer
	for i := range stream {
		if whole := i == 0; d.Complete() != whole {
			t.Errorf("after %d bytes: Complete is %v", i, d.Complete())
		}
		d.Deframe(stream[i : i+1])
	}
	if !d.Complete() {
		t.Error("after the record: Complete is false")
	}
}

func TestDeframerReturnsTheBytesBeforeAMalformedRecord(t *testing.T) {
	b := append(appendRecords(nil, []byte("abc"), 16640), "HTTP/1.1"...)
	var d Deframer
	n, err := d.Deframe(b)
	var evidence *RecordError
	if string(b[:n]) != "abc" || !errors.As(err, &evidence) || string(evidence.Header[:]) != "HTTP/" {
		t.Errorf("%q, %v; want \"abc\" and a *RecordError with the header", b[:n], err)
	}
	if n, again := d.Deframe(appendRecords(nil, []byte("def"), 16640)); n != 0 || again != err {
		t.Errorf("afterwards: n = %d, %v; want the same error", n, again)
	}
	if d.Complete() {
		t.Error("Complete after an error")
	}
}

// A record of either side may have any length that the field has room for.
func TestRecordHeadersHaveTypeAndLength(t *testing.T) {
	for _, c := range []struct {
		header string
		from   frame.Side
		n      int
		ok     bool
	}{
		{"1703030000", frame.Client, 0, true},
		{"1703034101", frame.Client, 16641, true},
		{"170303ffff", frame.Client, 65535, true},
		{"170303ffff", frame.Server, 65535, true},
		{"1403030001", frame.Client, 1, true},
		{"1403030001", frame.Server, 1, true},
		{"1403030002", frame.Server, 0, false},
		{"1403030000", frame.Server, 0, false},
		{"1503030002", frame.Server, 0, false},
		{"1603030002", frame.Client, 0, false},
		{"1703010002", frame.Client, 0, false},
		{"1702030002", frame.Client, 0, false},
	} {
		b := unhex(t, c.header)
		kind, n, err := ParseRecordHeader(b, c.from)
		if (err == nil) != c.ok || n != c.n || c.ok && kind != RecordType(b[0]) {
			t.Errorf("%s from %v: type %02x, %d, %v", c.header, c.from, kind, n, err)
		}
		if err != nil && !errors.Is(err, ErrMalformed) {
			t.Errorf("%s from %v: %v is not ErrMalformed", c.header, c.from, err)
		}
		if _, _, err := ParseRecordHeader(b[:4], c.from); err != ErrIncomplete {
			t.Errorf("4 bytes: %v, want ErrIncomplete", err)
		}
	}
}

// A length that wraps at 65536 would put the stream out of step without an error.
func TestRecordHeaderLengthNeverWraps(t *testing.T) {
	if b := AppendRecordHeader(nil, 65535); !bytes.Equal(b, unhex(t, "170303ffff")) {
		t.Errorf("65535: % x", b)
	}
	for _, n := range []int{-1, 65536} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%d: no panic", n)
				}
			}()
			AppendRecordHeader(nil, n)
		}()
	}
}

// A Deframer that is encoded and decoded between any two bytes goes on as one that is not.
func TestDeframerGoesOnFromItsEncodedState(t *testing.T) {
	stream := join([]byte(changeCipherSpec), appendRecords(nil, []byte("one"), 2),
		record(RecordApplicationData, 0), []byte(changeCipherSpec), appendRecords(nil, []byte("two"), 16640))
	for _, from := range []Deframer{{From: frame.Client}, {From: frame.Client, Strict: true}} {
		d, got := from, []byte(nil)
		for i := range stream {
			state, err := d.AppendBinary([]byte("before"))
			if err != nil || len(state) != len("before")+DeframerLength {
				t.Fatal(len(state), err)
			}
			var next Deframer
			if err := next.UnmarshalBinary(state[len("before"):]); err != nil || next != d {
				t.Fatalf("after %d bytes: %+v, want %+v, %v", i, next, d, err)
			}
			n, err := next.Deframe(stream[i : i+1])
			if err != nil {
				t.Fatal(err)
			}
			got, d = append(got, stream[i:i+n]...), next
		}
		if string(got) != "onetwo" {
			t.Errorf("%q", got)
		}
	}
}

// What is no state of a Deframer is refused, and changes nothing.
func TestDeframerRefusesOtherStates(t *testing.T) {
	good, err := (&Deframer{}).AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(b []byte) []byte{
		"short":               func(b []byte) []byte { return b[1:] },
		"long":                func(b []byte) []byte { return append(b, 0) },
		"other side":          func(b []byte) []byte { b[0] = 2; return b },
		"unknown flag":        func(b []byte) []byte { b[1] = 8; return b },
		"a whole header":      func(b []byte) []byte { b[2] = RecordHeaderLength; return b },
		"a body and a header": func(b []byte) []byte { b[2], b[7] = 1, 1; return b },
		"a long body":         func(b []byte) []byte { b[4] = 1; return b },
	} {
		d := Deframer{skipped: 7}
		if err := d.UnmarshalBinary(change(bytes.Clone(good))); err == nil || d != (Deframer{skipped: 7}) {
			t.Errorf("%s: %v, %+v", name, err, d)
		}
	}
	failed := Deframer{}
	failed.Deframe([]byte("HTTP/1.1"))
	if _, err := failed.AppendBinary(nil); err == nil {
		t.Error("a Deframer that has failed was encoded")
	}
}
