package config

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// largeDocument returns a document with n users with limits.
func largeDocument(n int) []byte {
	var out strings.Builder
	for i := range n {
		fmt.Fprintf(&out, "[[user]]\nname = \"user-%d\"\nsecret = \"dd%032x\"\nmax_connections = 100\nquota = \"100 GiB\"\nquota_period = \"month\"\n\n", i, i)
	}
	return []byte(out.String())
}

// A document of 100,000 users with limits is decoded with less than 100 MiB: what is
// left of them, and what decoding takes at its end.
func TestManyUsersTakeLittleMemory(t *testing.T) {
	const users = 100_000
	data := largeDocument(users)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var s schema
	if _, err := Decode("x", data, &s); err != nil || len(s.Users) != users {
		t.Fatal(err, len(s.Users))
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	kept := int64(after.HeapAlloc) - int64(before.HeapAlloc)
	t.Logf("%d MiB are kept, %d MiB were allocated in %d allocations", kept>>20, (after.TotalAlloc-before.TotalAlloc)>>20, after.Mallocs-before.Mallocs)
	if kept > 60<<20 || after.Mallocs-before.Mallocs > 30*users {
		t.Errorf("%d bytes are kept, in %d allocations", kept, after.Mallocs-before.Mallocs)
	}
	runtime.KeepAlive(&s)
}

func BenchmarkDecode100000Users(b *testing.B) {
	data := largeDocument(100_000)
	b.ReportAllocs()
	for b.Loop() {
		var s schema
		if _, err := Decode("x", data, &s); err != nil {
			b.Fatal(err)
		}
	}
}
