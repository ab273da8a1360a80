package proxy

import (
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"slices"
	"time"

	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/obfuscation"
)

// SessionState is what there is of a session besides its two sockets, when all bytes that
// were read are written: another process can go on from it. It has the keys of the
// connection, but not the user's secret.
type SessionState struct {
	// User is the name of the client's user, and Secret identifies its secret and ad
	// tag.
	User   string
	Secret SecretID

	Mode     mtproxy.Modes
	Protocol frame.Protocol
	DC       datacenter.DC
	Stage    Stage

	// Client is the client's address in a PROXY protocol header, invalid if there was
	// none.
	Client netip.AddrPort
	// Upstream and Address are as in Report.
	Upstream, Address string
	// Age is the session's age, and Last its age when bytes moved last, 0 if none have.
	Age, Last time.Duration
	// Unanswered is the session's age when the oldest byte was sent up that the data
	// centre has not answered, 0 if there is none.
	Unanswered     time.Duration
	TransportError uint32

	Up, Down DirectionState

	// Receive and Send are the positions in the key streams of the upload, and the same
	// of the download, if that is decrypted: otherwise DownReceive and DownSend are nil.
	Receive, Send         obfuscation.Cursor
	DownReceive, DownSend *obfuscation.Cursor

	// Records is the state of the upload's records, and RecordLengths how the download
	// is cut into records, of a FakeTLS client; otherwise both are nil.
	Records       *faketls.Deframer
	RecordLengths *RecordLengths

	// FirstPackets is nil once enough of the download was looked at.
	FirstPackets *FirstPackets
}

// SecretID identifies a secret with an ad tag, and does not reveal them.
type SecretID [16]byte

// secretID returns the ID of one of a user's secrets.
func secretID(secret mtproxy.Secret, adTag []byte) SecretID {
	text := append(make([]byte, 0, 128), "mtwire session\n"...)
	text = append(hex.AppendEncode(text, secret.Bytes()), '\n')
	sum := sha256.Sum256(append(text, adTag...))
	return SecretID(sum[:16])
}

// DirectionState is the state of one direction of a session.
type DirectionState struct {
	// Bytes is how many bytes have moved.
	Bytes int64
	// Ended reports whether the source's stream has ended.
	Ended bool
}

// RecordLengths is how a download is cut into TLS records, as lengths of their bodies:
// those of Tickets, then those of Ramp, then Max.
type RecordLengths struct {
	Tickets, Ramp []int
	Max           int
	// Sent is how many of Tickets and Ramp were sent.
	Sent int
}

// maxRecordBody is the longest record body of TLS 1.3.
//
// Specification: https://www.rfc-editor.org/rfc/rfc8446#section-5.2
const maxRecordBody = 1<<14 + 256

// valid reports whether the lengths are those of records. Nil is valid.
func (l *RecordLengths) valid() bool {
	if l == nil {
		return true
	}
	for _, n := range slices.Concat(l.Tickets, l.Ramp, []int{l.Max}) {
		if n < 2*minRecord || n > maxRecordBody {
			return false
		}
	}
	return l.Sent >= 0 && l.Sent <= len(l.Tickets)+len(l.Ramp)
}

// FirstPackets is the state of the search for transport errors in the first packets of a
// download.
type FirstPackets struct {
	Download obfuscation.KeyStream
	Offset   uint64 // of the next byte
	Payloads int    // that were found
	Rest     []byte // the beginning of a packet, decrypted; at most MaxFirstRest bytes
}

// MaxFirstRest is the maximum length of FirstPackets.Rest.
const MaxFirstRest = maxErrorLength - 1
