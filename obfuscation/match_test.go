package obfuscation

import (
	"bytes"
	"encoding/binary"
	"errors"
	"runtime"
	"strings"
	"testing"

	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/frame"
	"golang.org/x/sys/cpu"
)

// Match returns the index of the key that matches, or ErrNoMatch.
func TestMatchFindsTheKey(t *testing.T) {
	keys := manyKeys(40)
	for n := 1; n <= len(keys); n++ {
		for i := range n {
			payload, _, err := NewInit(&ClientConfig{Protocol: frame.Intermediate, DC: 1, Key: &keys[i]})
			if err != nil {
				t.Fatal(err)
			}
			found, err := Match(&payload, keys[:n])
			if err != nil || found.Key != i {
				t.Errorf("key %d of %d: found %d, %v", i, n, found.Key, err)
			}
			if _, err := Match(&payload, keys[i+1:n]); !errors.Is(err, ErrNoMatch) && i+1 < n {
				t.Errorf("without the key: %v", err)
			}
			if _, err := Match(&payload, nil); !errors.Is(err, ErrNoMatch) {
				t.Errorf("without any key: %v", err)
			}
		}
	}
}

// The trailer can be given, and a server finds it; otherwise it is drawn. With a key
// it cannot be read without it.
func TestTrailerIsFound(t *testing.T) {
	key, drawn := manyKeys(1), make(map[[2]byte]bool)
	trailer := [2]byte{0xab, 0xcd}
	for _, keys := range [][][16]byte{nil, key} {
		for _, protocol := range []frame.Protocol{frame.Abridged, frame.Intermediate, frame.PaddedIntermediate} {
			for range 8 {
				for _, given := range []*[2]byte{nil, &trailer} {
					config := &ClientConfig{Protocol: protocol, DC: -4, Trailer: given}
					if keys != nil {
						config.Key = &keys[0]
					}
					payload, sent, err := NewInit(config)
					if err != nil {
						t.Fatal(err)
					}
					found, err := Match(&payload, keys)
					if err != nil || found.Trailer != sent.Trailer || found.DC != -4 || given != nil && found.Trailer != trailer {
						t.Errorf("%+v, %v, want %x", found, err, sent.Trailer)
					}
					if given == nil {
						drawn[found.Trailer] = true
					}
				}
			}
		}
	}
	if len(drawn) < 40 { // of 48
		t.Errorf("%d trailers were drawn", len(drawn))
	}
}

// Users may share a key and differ in their domains. Match returns the first.
func TestFirstOfEqualKeysIsFound(t *testing.T) {
	keys := manyKeys(20)
	keys[18], keys[19] = keys[17], keys[17]
	payload, _, err := NewInit(&ClientConfig{Protocol: frame.Abridged, Key: &keys[19]})
	if err != nil {
		t.Fatal(err)
	}
	if found, err := Match(&payload, keys); err != nil || found.Key != 17 {
		t.Errorf("found %d, %v; want 17", found.Key, err)
	}
}

// Under two keys, which were searched for, the same payload has a tag. The one that names
// a data centre is the client's.
func TestDataCenterTellsTwoMatchingKeysApart(t *testing.T) {
	var payload [InitLength]byte
	for i := range tagStart {
		payload[i] = byte(i + 1)
	}
	other, clients := [16]byte{0x05, 0x03}, [16]byte{0x0c, 0x0b, 0x01}
	upload, _ := keyStreams(&payload, &clients)
	binary.LittleEndian.PutUint32(payload[tagStart:], 0xeeeeeeee)
	binary.LittleEndian.PutUint16(payload[dcStart:], 2)
	upload.StreamAt(tagStart).XORKeyStream(payload[tagStart:], payload[tagStart:])

	for key, want := range map[[16]byte]bool{other: false, clients: true} {
		found, err := Match(&payload, [][16]byte{key})
		if err != nil || exists(found.DC) != want {
			t.Fatalf("key %x alone: DC %d, %v", key, found.DC, err)
		}
	}
	many := manyKeys(40)
	many[3], many[35] = other, clients
	for _, keys := range [][][16]byte{{other, clients}, {clients, other}, many} {
		if found, err := Match(&payload, keys); err != nil || keys[found.Key] != clients || found.DC != 2 || found.Protocol != frame.Intermediate {
			t.Errorf("found key %d with DC %d, %v", found.Key, found.DC, err)
		}
	}
	// With no better one, an unknown number is the client's all the same.
	if found, err := Match(&payload, many[:20]); err != nil || found.Key != 3 {
		t.Errorf("found key %d, %v", found.Key, err)
	}
}

// With vector instructions Match does not allocate, without them it allocates one
// cipher for each key, which has up to two parts. A match allocates no more.
func TestTryingKeysDoesNotAllocate(t *testing.T) {
	keys, payload := manyKeys(100), [InitLength]byte(random())
	most := float64(2*len(keys) + 20)
	if runtime.GOARCH == "amd64" && cpu.X86.HasAVX2 && cpu.X86.HasAES {
		most = 0
	}
	if n := testing.AllocsPerRun(20, func() { Match(&payload, keys) }); n > most {
		t.Errorf("%v allocations for %d keys, want at most %v", n, len(keys), most)
	}
	matching, _, err := NewInit(&ClientConfig{Protocol: frame.Abridged, Key: &keys[99]})
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(20, func() { Match(&matching, keys) }); n > most+1 {
		t.Errorf("%v allocations for a match, want at most %v", n, most+1)
	}
}

// A source that returns nothing but forbidden bytes ends NewInit, which does not draw for
// ever, and so does a config without a framing, which is what nil has.
func TestNewInitEndsWithoutRandomBytes(t *testing.T) {
	for _, p := range []frame.Protocol{frame.Intermediate, frame.Full} {
		if _, _, err := NewInit(&ClientConfig{Protocol: p, AllowFull: true, Rand: zeros{}}); err == nil || !strings.Contains(err.Error(), "Rand") {
			t.Errorf("%v: %v", p, err)
		}
	}
	if _, _, err := NewInit(nil); err == nil {
		t.Error("no config is accepted")
	}
	if c, err := Client(nil, nil); err == nil {
		t.Errorf("%v without a config", c)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// Full has no tag: NewInit needs AllowFull, and a server MatchFull.
func TestFullNeedsAnExplicitChoice(t *testing.T) {
	if _, _, err := NewInit(&ClientConfig{Protocol: frame.Full}); !errors.Is(err, ErrFull) {
		t.Errorf("by default: %v", err)
	}
	key := [16]byte{5}
	for _, keys := range [][][16]byte{nil, {{}, key}} {
		config := &ClientConfig{Protocol: frame.Full, AllowFull: true, DC: -2}
		if keys != nil {
			config.Key = &key
		}
		payload, init, err := NewInit(config)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Match(&payload, keys); !errors.Is(err, ErrNoMatch) {
			t.Errorf("Match: %v, want ErrNoMatch", err)
		}
		e := frame.Encoder{Protocol: frame.Full}
		packet, err := e.Append(nil, frame.Packet{Payload: reqPQMulti})
		if err != nil {
			t.Fatal(err)
		}
		init.Streams(frame.Client).Send.XORKeyStream(packet, packet)
		first := [FullLength]byte(append(payload[:], packet...))
		found, err := MatchFull(&first, keys, 0)
		if err != nil || found.Protocol != frame.Full || found.DC != -2 || found.Key != len(keys)-1 {
			t.Fatalf("%+v, %v", found, err)
		}
		found.Streams(frame.Server).Receive.XORKeyStream(packet, packet)
		d := frame.Decoder{Protocol: frame.Full}
		if p, _, err := d.Parse(packet); err != nil || !bytes.Equal(p.Payload, reqPQMulti) {
			t.Errorf("%+v, %v", p, err)
		}
		first[70] ^= 1
		if _, err := MatchFull(&first, keys, 0); !errors.Is(err, ErrNoMatch) {
			t.Errorf("a wrong sequence number: %v", err)
		}
	}
}

// FuzzMatch checks that Match and MatchFull do not panic for any 72 bytes, and that
// an init payload that matches has a tag or a first frame of Full.
func FuzzMatch(f *testing.F) {
	key := [16]byte{1}
	for _, protocol := range frame.Protocols {
		payload, _, err := NewInit(&ClientConfig{Protocol: protocol, AllowFull: true, Key: &key, DC: 2})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(append(payload[:], 0, 0, 0, 0, 0, 0, 0, 0))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var first [FullLength]byte
		copy(first[:], b)
		payload := [InitLength]byte(first[:])
		if init, err := Match(&payload, [][16]byte{key}); err == nil {
			tag, ok := init.Protocol.Tag()
			if !ok {
				t.Fatalf("%+v", init)
			}
			// The stream decrypts the payload to the tag and the DC returned.
			clear := payload
			init.Upload.StreamAt(0).XORKeyStream(clear[:], payload[:])
			if [4]byte(clear[tagStart:]) != tag || datacenter.DC(binary.LittleEndian.Uint16(clear[dcStart:])) != init.DC {
				t.Fatalf("%x, matched %v, DC %v", clear[tagStart:], init.Protocol, init.DC)
			}
		}
		if init, err := MatchFull(&first, [][16]byte{key}, 0); err == nil && init.Protocol != frame.Full {
			t.Fatalf("%+v", init)
		}
	})
}
