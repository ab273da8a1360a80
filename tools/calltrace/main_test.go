package main

import "testing"

// Figures are those of two connections that agree in all rows, also if something disturbed
// the connections between them.
func TestDisturbedConnectionsAreSkipped(t *testing.T) {
	seen := repetition{}
	for i, entries := range []int{10, 13, 10} {
		counted := [rows]figures{{entries: 1}, {entries: entries}}
		if got, want := seen.repeats(counted), i == 2; got != want {
			t.Errorf("connection %d: repeats %t, want %t", i, got, want)
		}
	}
	if seen.repeats([rows]figures{{entries: 2}, {entries: 10}}) {
		t.Error("figures that agree in one row are taken for the same")
	}
}
