package datacenter

import (
	"math"
	"testing"
)

// The test environment is +10000, media is negative, CDN ids are never negated.
//
// Specification: https://core.telegram.org/mtproto/mtproto-transports#transport-obfuscation
func TestDCKeepsSignAndTestOffsetApart(t *testing.T) {
	for _, c := range []struct {
		dc          DC
		id          int
		test, media bool
		text, words string
	}{
		{0, 0, false, false, "0", "no DC named"},
		{2, 2, false, false, "2", "DC 2"},
		{-4, 4, false, true, "-4", "DC 4, media"},
		{10002, 2, true, false, "10002", "DC 2, test"},
		{-10002, 2, true, true, "-10002", "DC 2, test, media"},
		{CDN, 203, false, false, "203", "DC 203, CDN"},
		{math.MaxInt16, 22767, true, false, "32767", "DC 22767, test"},
		{math.MinInt16, 22768, true, true, "-32768", "DC 22768, test, media"},
	} {
		if c.dc.ID() != c.id || c.dc.Test() != c.test || c.dc.Media() != c.media {
			t.Errorf("DC %d: id %d test %v media %v, want %d %v %v",
				int16(c.dc), c.dc.ID(), c.dc.Test(), c.dc.Media(), c.id, c.test, c.media)
		}
		if c.dc.String() != c.text {
			t.Errorf("DC %d: String %q, want %q", int16(c.dc), c.dc, c.text)
		}
		if got := c.dc.Describe(); got != c.words {
			t.Errorf("DC %d: Describe %q, want %q", int16(c.dc), got, c.words)
		}
	}
}

// AsMedia and AsTest may be called in either order, and twice.
func TestDCIsBuiltInAnyOrder(t *testing.T) {
	for _, c := range []struct{ got, want DC }{
		{DC(2).AsMedia(), -2},
		{DC(-2).AsMedia(), -2},
		{DC(2).AsTest(), 10002},
		{DC(10002).AsTest(), 10002},
		{DC(2).AsTest().AsMedia(), -10002},
		{DC(2).AsMedia().AsTest(), -10002},
		{DC(-10002).AsTest().AsMedia(), -10002},
		{CDN.AsMedia(), CDN},
		{DC(0).AsMedia(), 0},
		{DC(0).AsTest(), 0},
	} {
		if c.got != c.want {
			t.Errorf("got %d, want %d", c.got, c.want)
		}
	}
}

// A client without a proxy secret may leave random bytes in the field: the methods
// are defined for all 65,536 values.
func TestEveryDCValueSurvivesItsText(t *testing.T) {
	for n := math.MinInt16; n <= math.MaxInt16; n++ {
		dc := DC(n)
		back, err := ParseDC(dc.String())
		if err != nil || back != dc {
			t.Fatalf("ParseDC(%q) = %d, %v", dc.String(), back, err)
		}
		if dc.ID() < 0 || dc.AsMedia().ID() != dc.ID() || dc.AsTest().ID() != dc.ID() {
			t.Fatalf("DC %d: ID %d, as media %d, as test %d", n, dc.ID(), dc.AsMedia().ID(), dc.AsTest().ID())
		}
	}
}

func TestParseDCRefusesOtherText(t *testing.T) {
	for _, text := range []string{"", "two", "2 ", "0x2", "2.0", "32768", "-32769", "test 2"} {
		if dc, err := ParseDC(text); err == nil {
			t.Errorf("ParseDC(%q) = %d, want an error", text, dc)
		}
	}
}
