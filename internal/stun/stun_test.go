package stun

import (
	"context"
	"encoding/hex"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func fromHex(t testing.TB, text string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// sampleID is the transaction ID of RFC 5769's samples.
var sampleID = TransactionID{0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae}

// The sample responses of RFC 5769, without the attributes of integrity behind the
// address.
//
// Specification: https://www.rfc-editor.org/rfc/rfc5769#section-2.2
const (
	sampleIPv4 = "0101 001c 2112a442 b7e7a701bc34d686fa87dfae 8022 000b 74657374 20766563 746f7220 0020 0008 0001 a147 e112a643"
	sampleIPv6 = "0101 0028 2112a442 b7e7a701bc34d686fa87dfae 8022 000b 74657374 20766563 746f7220 0020 0014 0002 a147 0113a9faa5d3f179bc25f4b5bed2b9d9"
)

func TestSampleResponsesOfTheSpecification(t *testing.T) {
	for text, want := range map[string]string{sampleIPv4: "192.0.2.1:32853", sampleIPv6: "[2001:db8:1234:5678:11:2233:4455:6677]:32853"} {
		got, err := ParseResponse(fromHex(t, text), sampleID)
		if err != nil || got != netip.MustParseAddrPort(want) {
			t.Errorf("%v, %v, want %s", got, err, want)
		}
	}
}

// Servers of the first version of STUN have MAPPED-ADDRESS alone.
func TestAddressWithoutXORIsTheSecondChoice(t *testing.T) {
	const header = "2112a442 b7e7a701bc34d686fa87dfae"
	plain, xored := "0001 0008 0001 1234 c6336407", "0020 0008 0001 a147 e112a643"
	for text, want := range map[string]string{
		"0101 000c" + header + plain:         "198.51.100.7:4660",
		"0101 0018" + header + plain + xored: "192.0.2.1:32853",
		"0101 0018" + header + xored + plain: "192.0.2.1:32853",
	} {
		got, err := ParseResponse(fromHex(t, text), sampleID)
		if err != nil || got != netip.MustParseAddrPort(want) {
			t.Errorf("%v, %v, want %s", got, err, want)
		}
	}
}

func TestBadResponsesAreErrors(t *testing.T) {
	const header = "2112a442 b7e7a701bc34d686fa87dfae"
	for text, want := range map[string]string{
		"": "not the response",
		"0101 0000 2112a442 b7e7a701bc34d686fa87df":                         "not the response",
		"0101 0000 2112a442 b7e7a701bc34d686fa87dfaf":                       "not the response",
		"0101 0000 2112a443 b7e7a701bc34d686fa87dfae":                       "not the response",
		"0001 0000" + header:                                                "not the response",
		"0111 0000" + header:                                                "refuses",
		"0101 0000" + header:                                                "no address",
		"0101 0004" + header:                                                "the length is not",
		"0101 0002" + header + "0020":                                       "half an attribute",
		"0101 0008" + header + "0020 0008 0001 a147":                        "8 bytes, and 4 are left",
		"0101 000c" + header + "0020 0008 0003 a147 e112a643":               "no known family",
		"0101 000c" + header + "0020 0008 0002 a147 e112a643":               "no known family",
		"0101 0008" + header + "0020 0002 0001 0000":                        "no known family",
		"0101 0008" + header + "0020 ffff 0001 0000":                        "65535 bytes, and 4 are left",
		strings.Replace(sampleIPv4, "0020 0008 0001", "0020 0008 0009", 1):  "no known family",
		strings.Replace(sampleIPv6, "0020 0014 0002", "0020 0014 0001", 1):  "no known family",
		strings.Replace(sampleIPv4, "0101 001c", "0101 0018", 1):            "the length is not",
		strings.Replace(sampleIPv4, "0020 0008 0001", "9020 0008 0001", 1):  "no address",
		strings.Replace(sampleIPv4, "8022 000b 7465", "8022 0060 7465", -1): "96 bytes",
	} {
		if got, err := ParseResponse(fromHex(t, text), sampleID); err == nil || !strings.Contains(err.Error(), want) || got.IsValid() {
			t.Errorf("%s: %v, %v, want %s", text, got, err, want)
		}
	}
}

// A response that parses has an address; no bytes make the parser panic.
func FuzzParseResponse(f *testing.F) {
	f.Add(fromHex(f, sampleIPv4))
	f.Add(fromHex(f, sampleIPv6))
	f.Fuzz(func(t *testing.T, b []byte) {
		if address, err := ParseResponse(b, sampleID); (err == nil) != address.IsValid() {
			t.Fatalf("%v, %v", address, err)
		}
	})
}

// answer is a STUN server that sees 192.0.2.1.
func answer(request []byte) []byte {
	response := append([]byte{1, 1, 0, 12}, request[4:headerLength]...)
	return append(response, 0, 1, 0, 8, 0, 1, 0, 80, 192, 0, 2, 1)
}

func TestQueryAsksAServer(t *testing.T) {
	server, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	go func() {
		request := make([]byte, 100)
		n, from, err := server.ReadFrom(request)
		if err != nil || n != headerLength {
			return
		}
		server.WriteTo([]byte("something else"), from)
		server.WriteTo(answer(request), from)
	}()
	if got, err := Query(t.Context(), "udp4", server.LocalAddr().String()); err != nil || got.String() != "192.0.2.1" {
		t.Error(got, err)
	}
}

// A request that gets lost is sent again.
func TestLostRequestsAreSentAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer near.Close()
		go func() {
			request := make([]byte, 100)
			for range attempts {
				far.Read(request)
			}
			far.Write(answer(request))
		}()
		start := time.Now()
		if got, err := exchange(t.Context(), near); err != nil || got.String() != "192.0.2.1" || time.Since(start) != 1500*time.Millisecond {
			t.Error(got, err, time.Since(start))
		}
	})
}

func TestSilentServerIsAnErrorAfterAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer near.Close()
		go func() {
			for buffer := make([]byte, 100); ; {
				if _, err := far.Read(buffer); err != nil {
					return
				}
			}
		}()
		start := time.Now()
		if _, err := exchange(t.Context(), near); err == nil || !strings.Contains(err.Error(), "no answer") || time.Since(start) != 3500*time.Millisecond {
			t.Error(err, time.Since(start))
		}
	})
}

func TestContextEndsAQuery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, _ := net.Pipe()
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if _, err := exchange(ctx, near); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	})
}
