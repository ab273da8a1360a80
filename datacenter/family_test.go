package datacenter

import (
	"slices"
	"testing"
)

// All addresses on the best port are tried before any on the next port.
func TestFamiliesAlternatePortByPort(t *testing.T) {
	const a, b, six = "149.154.167.51", "95.161.76.100", "[2001:67c:4e8:f002::a]"
	location, _ := Lookup(2)
	for family, want := range map[Family][]string{
		PreferIPv4: {
			a + ":443", six + ":443", b + ":443", a + ":80", six + ":80", b + ":80", a + ":5222", six + ":5222", b + ":5222",
		},
		PreferIPv6: {
			six + ":443", a + ":443", b + ":443", six + ":80", a + ":80", b + ":80", six + ":5222", a + ":5222", b + ":5222",
		},
		OnlyIPv4: {a + ":443", b + ":443", a + ":80", b + ":80", a + ":5222", b + ":5222"},
		OnlyIPv6: {six + ":443", six + ":80", six + ":5222"},
	} {
		var got []string
		for _, address := range location.Addresses(family) {
			got = append(got, address.String())
		}
		if !slices.Equal(got, want) {
			t.Errorf("%v: %v, want %v", family, got, want)
		}
	}
}

func TestFamilyIsReadAsItIsWritten(t *testing.T) {
	for f := PreferIPv4; f <= OnlyIPv6; f++ {
		text, _ := f.MarshalText()
		var back Family
		if err := back.UnmarshalText(text); err != nil || back != f {
			t.Errorf("%s is %v, %v", text, back, err)
		}
	}
	if err := new(Family).UnmarshalText([]byte("ipv5")); err == nil {
		t.Error("ipv5 is a family")
	}
}
