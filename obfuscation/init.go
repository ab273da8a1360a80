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

// The layout of the init payload, the first bytes that a client sends:
//
//	 0   8  random, with restrictions: see Forbidden
//	 8  32  random: AES key of the upload
//	40  16  random: first counter of the upload
//	56   4  tag of the framing   } encrypted
//	60   2  DC, signed           } with the
//	62   2  random: the trailer  } upload key stream
//
// Bytes 8..56 in reverse are key and counter of the download.
const (
	// InitLength is the length of an init payload in bytes.
	InitLength = 64

	keyStart  = 8
	ivStart   = 40
	tagStart  = 56
	dcStart   = 60
	trailer   = 62
	keyLength = 32
	ivLength  = 16
)

// ErrFull is returned for Full inside obfuscation unless ClientConfig.AllowFull is
// set: the specification has no tag for it.
var ErrFull = errors.New("obfuscation: no tag exists for the full framing")

// forbiddenWords are the first four bytes, in wire order, by which some server
// detects a transport other than obfuscation. They are the union of those that the
// known clients avoid.
var forbiddenWords = [...]string{
	"HEAD", "POST", "GET ", "OPTI", // HTTP
	"\xee\xee\xee\xee", // intermediate
	"\xdd\xdd\xdd\xdd", // padded intermediate
	"PVrG",             // a private header of old clients
}

// Forbidden reports whether a server may detect another transport in the first
// eight bytes of an init payload: Abridged's header, an HTTP method, a header of
// Intermediate or PaddedIntermediate, a TLS handshake record, or zero in the second
// word, which is Full's first sequence number. The specification lists 16 03 01 02
// for TLS. Detectors compare three bytes, because the ClientHellos of today are
// longer than 02ff bytes.
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

// Init is the decoded content of an init payload.
type Init struct {
	// Protocol is the framing of the stream that follows.
	Protocol frame.Protocol

	// DC is the data centre requested. Clients without a proxy secret may send
	// random bytes for it.
	DC datacenter.DC

	// Trailer is the last two bytes. Clients draw them, and servers ignore them.
	Trailer [2]byte

	// Key is the index of the key that matches, or -1 without keys. On a client
	// it is -1.
	Key int

	// Upload and Download are the key streams from and to the client, with the
	// key mixed in. The init payload uses the first 64 bytes of Upload.
	Upload, Download KeyStream
}

// Streams returns new ciphers for one end of the connection, at the positions that
// follow the init payload.
func (i *Init) Streams(side frame.Side) Streams {
	upload, download := i.Upload.StreamAt(InitLength), i.Download.StreamAt(0)
	if side == frame.Client {
		return Streams{Send: upload, Receive: download}
	}
	return Streams{Send: download, Receive: upload}
}

// Streams are the ciphers of one end of a connection. They last as long as the
// connection: the counters are never reset.
type Streams struct {
	Send, Receive cipher.Stream
}

// ClientConfig is the content of a client's init payload. Nil is an error, since Protocol
// is required.
type ClientConfig struct {
	// Protocol is the framing of the stream that follows. It is required.
	Protocol frame.Protocol

	// DC is the data centre requested. A proxy needs it; a data centre ignores
	// it. 0 is sent as 0.
	DC datacenter.DC

	// Trailer is the last two bytes, which are encrypted. A proxy may pass those of
	// its client to another proxy. Nil means random bytes.
	Trailer *[2]byte

	// Key is the key of a proxy's secret. Nil means none, as for a data centre.
	// A FakeTLS secret also needs package faketls's layer below this one.
	Key *[16]byte

	// AllowFull allows frame.Full as the Protocol. It has no tag, so that the
	// tag's bytes are random; the server must use MatchFull. If AllowFull is
	// false, Full returns ErrFull.
	AllowFull bool

	// Download, if not nil, is the key stream of the download (fast mode). A
	// proxy that passes its client's here relays the download without a cipher.
	// It excludes Key, which would change it.
	Download *KeyStream

	// Rand is the source of the random bytes. Nil means crypto/rand. One that returns no
	// usable bytes, such as zeros without end, is an error.
	Rand io.Reader
}

// NewInit returns a new random init payload, as it is sent, and its content. The
// payload uses the first 64 bytes of the upload key stream. The error is ErrFull, or about
// another field of config, or that of its Rand.
func NewInit(config *ClientConfig) (payload [InitLength]byte, init Init, err error) {
	if config == nil {
		config = &ClientConfig{}
	}
	tag, ok := config.Protocol.Tag()
	switch {
	case !config.Protocol.Valid():
		return payload, init, errors.New("obfuscation: ClientConfig.Protocol is not valid")
	case !ok && !config.AllowFull:
		return payload, init, ErrFull
	case config.Download != nil && config.Key != nil:
		return payload, init, errors.New("obfuscation: ClientConfig has both Download and Key")
	}
	if err := draw(config, &payload, ok); err != nil {
		return payload, init, fmt.Errorf("obfuscation: init payload: %w", err)
	}
	if ok {
		copy(payload[tagStart:], tag[:])
	}
	binary.LittleEndian.PutUint16(payload[dcStart:], uint16(config.DC))
	if config.Trailer != nil {
		copy(payload[trailer:], config.Trailer[:])
	}

	init = Init{Protocol: config.Protocol, DC: config.DC, Trailer: [2]byte(payload[trailer:]), Key: -1}
	init.Upload, init.Download = keyStreams(&payload, config.Key)
	init.Upload.StreamAt(tagStart).XORKeyStream(payload[tagStart:], payload[tagStart:])
	return payload, init, nil
}

// maxDraws is how often draw draws. That random bytes are forbidden so often has a
// probability below 2^-400.
const maxDraws = 64

// draw fills payload with random bytes that are not Forbidden. If the framing has no
// tag, it draws again until they have no other framing's tag by chance. Random bytes are
// forbidden once in a hundred times.
func draw(config *ClientConfig, payload *[InitLength]byte, tagged bool) error {
	source := config.Rand
	if source == nil {
		source = rand.Reader
	}
	for range maxDraws {
		if _, err := io.ReadFull(source, payload[:]); err != nil {
			return err
		}
		if config.Download != nil {
			for i, b := range config.Download {
				payload[tagStart-1-i] = b
			}
		}
		_, chance := frame.ProtocolByTag([4]byte(payload[tagStart:]))
		if !Forbidden([8]byte(payload[:])) && (tagged || !chance) {
			return nil
		}
	}
	return fmt.Errorf("forbidden bytes %d times from Rand, which is not random", maxDraws)
}
