package obfuscation

import (
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/frame"
)

// Layout of the init payload, the first bytes that a client sends:
//
//	 0   8  random, with restrictions: see Forbidden
//	 8  32  random: key of the stream from client to server
//	40  16  random: its counter's first value
//	56   4  tag of the framing   } encrypted
//	60   2  DC, signed           } with the
//	62   2  random               } stream itself
//
// Bytes 8..56 read backwards are key and counter of the other direction.
const (
	// InitLength is the length of an init payload.
	InitLength = 64

	keyStart  = 8
	ivStart   = 40
	tagStart  = 56
	dcStart   = 60
	keyLength = 32
	ivLength  = 16
)

// ErrFull is returned for Full inside obfuscation, for which the
// specification has no tag, unless it was asked for by name.
var ErrFull = errors.New("obfuscation: no tag exists for the full framing")

// forbiddenWords are the beginnings that some server takes for something else
// than an init payload, as they stand on the wire. The union of what all known
// clients avoid.
var forbiddenWords = [...]string{
	"HEAD", "POST", "GET ", "OPTI", // HTTP
	"\xee\xee\xee\xee", // intermediate
	"\xdd\xdd\xdd\xdd", // padded intermediate
	"PVrG",             // an old private header
}

// Forbidden says whether the first eight bytes of an init payload would be
// taken for another transport: Abridged's header, one of the words above,
// a TLS handshake record, or zero in the second word, which is Full's first
// sequence number. The official list has 16 03 01 02 only; hellos have since
// outgrown that length, and detectors test three bytes.
//
// Specification: https://core.telegram.org/mtproto/mtproto-transports#transport-obfuscation
func Forbidden(first [8]byte) bool {
	if first[0] == 0xef {
		return true
	}
	if first[0] == 0x16 && first[1] == 3 && (first[2] == 1 || first[2] == 3) {
		return true
	}
	for _, word := range forbiddenWords {
		if string(first[:4]) == word {
			return true
		}
	}
	return binary.LittleEndian.Uint32(first[4:]) == 0
}

// Init is the content of an init payload.
type Init struct {
	// Protocol is the framing of the stream that follows.
	Protocol frame.Protocol

	// DC is the data centre requested. Clients without a proxy secret may
	// leave random bytes in its place.
	DC datacenter.DC

	// Key is the index of the key that matched, or -1 if none is in use. On a
	// client it is -1.
	Key int

	// Upload and Download are the key streams from the client and to it, with
	// the key mixed in. The init payload has used the first 64 bytes of Upload.
	Upload, Download KeyStream
}

// Streams starts the ciphers of one end of the connection, behind the init
// payload.
func (i *Init) Streams(side frame.Side) Streams {
	upload, download := i.Upload.StreamAt(InitLength), i.Download.StreamAt(0)
	if side == frame.Client {
		return Streams{Send: upload, Receive: download}
	}
	return Streams{Send: download, Receive: upload}
}

// Streams are the running ciphers of one end of a connection. They are kept for
// the connection's life: the counters never start again.
type Streams struct {
	Send, Receive cipher.Stream
}

// ClientConfig says what a client's init payload announces.
type ClientConfig struct {
	// Protocol is the framing that the stream will carry. Required.
	Protocol frame.Protocol

	// DC is written at 60..62. Zero is written as zero: a data centre that is
	// dialled directly ignores it, a proxy needs it.
	DC datacenter.DC

	// Key is the key of a proxy's secret. Nil means none, as for a data centre
	// itself. A FakeTLS secret needs its own layer below this one.
	Key *[16]byte

	// AllowFull lets Protocol be frame.Full. No tag exists for it: random
	// bytes stand in its place, and only a server that was told to expect
	// this understands. Without it Full gives ErrFull.
	AllowFull bool

	// Download, if not nil, is the key stream that the server answers with. A
	// proxy passes its own client's here and can then relay the answer without
	// a cipher. It excludes Key, which would change it.
	Download *KeyStream

	// Rand is the source of the init payload; nil means crypto/rand.
	Rand io.Reader
}

// NewInit draws an init payload, as it goes on the wire, and returns what it
// announces. The payload has used the first 64 bytes of the upload key stream.
func NewInit(config *ClientConfig) (payload [InitLength]byte, init Init, err error) {
	tag, ok := config.Protocol.Tag()
	switch {
	case !config.Protocol.Valid():
		return payload, init, errors.New("obfuscation: no framing named")
	case !ok && !config.AllowFull:
		return payload, init, ErrFull
	case config.Download != nil && config.Key != nil:
		return payload, init, errors.New("obfuscation: a given download key stream and a key exclude each other")
	}
	if err := draw(config, &payload, ok); err != nil {
		return payload, init, fmt.Errorf("obfuscation: init payload: %w", err)
	}
	if ok {
		copy(payload[tagStart:], tag[:])
	}
	binary.LittleEndian.PutUint16(payload[dcStart:], uint16(config.DC))

	init = Init{Protocol: config.Protocol, DC: config.DC, Key: -1}
	init.Upload, init.Download = keyStreams(&payload, config.Key)
	init.Upload.StreamAt(tagStart).XORKeyStream(payload[tagStart:], payload[tagStart:])
	return payload, init, nil
}

// draw fills init with random bytes that may stand at the front of a
// connection. Without a tag it also takes care that none is there by chance.
func draw(config *ClientConfig, init *[InitLength]byte, tagged bool) error {
	source := config.Rand
	if source == nil {
		source = rand.Reader
	}
	for {
		if _, err := io.ReadFull(source, init[:]); err != nil {
			return err
		}
		if config.Download != nil {
			for i, b := range config.Download {
				init[tagStart-1-i] = b
			}
		}
		_, chance := frame.ProtocolByTag([4]byte(init[tagStart:]))
		if !Forbidden([8]byte(init[:])) && (tagged || !chance) {
			return nil
		}
	}
}
