package main

import "testing"

func TestBitRates(t *testing.T) {
	for text, want := range map[string]bitRate{
		"2Mbit": 2_000_000, "2mbit": 2_000_000, "0.5Mbit": 500_000, "500kbit": 500_000, "1Gbit": 1e9, "56000bit": 56_000,
		"": 0, "2": 0, "2M": 0, "bit": 0, "Mbit": 0, "-1bit": 0, "0kbit": 0, "0.5bit": 0, "NaNbit": 0, "infbit": 0, "1e300bit": 0,
		"2 Mbit": 0, "2MB": 0,
	} {
		var got bitRate
		if err := got.Set(text); got != want || (err == nil) != (want != 0) {
			t.Errorf("%q: %d, %v, want %d", text, got, err, want)
		}
	}
	for rate, want := range map[bitRate]string{
		0: "", 1: "1bit", 999: "999bit", 32_704: "32.704kbit", 2_000_000: "2Mbit", 1_500_000_000: "1.5Gbit",
	} {
		if got := rate.String(); got != want {
			t.Errorf("%d: %q, want %q", int64(rate), got, want)
		}
		var again bitRate
		if rate != 0 && (again.Set(want) != nil || again != rate) {
			t.Errorf("%q: %d, want %d", want, again, rate)
		}
	}
}
