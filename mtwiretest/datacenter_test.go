package mtwiretest

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/frame"
)

// request returns req_pq or req_pq_multi with a nonce of 0xa0 bytes, tail bytes
// inside the message's length and behind bytes after it.
func request(constructor uint32, id uint64, tail, behind int) []byte {
	b := binary.LittleEndian.AppendUint64(nil, 0)
	b = binary.LittleEndian.AppendUint64(b, id)
	b = binary.LittleEndian.AppendUint32(b, uint32(requestLength+tail))
	b = binary.LittleEndian.AppendUint32(b, constructor)
	b = append(b, bytes.Repeat([]byte{0xa0}, nonceLength)...)
	return append(b, make([]byte, tail+behind)...)
}

// req_pq and req_pq_multi are answered in the form of every client, with the
// client's nonce and the connection's server nonce.
func TestEveryFormOfRequestIsAnswered(t *testing.T) {
	nonce := [nonceLength]byte(bytes.Repeat([]byte{0xa0}, nonceLength))
	server := newNonce()
	for _, test := range []struct {
		name    string
		message []byte
		request string
	}{
		{"TDLib's ping", request(reqPQMulti, 1, 0, 0), "req_pq_multi"},
		{"message id zero", request(reqPQMulti, 0, 0, 0), "req_pq_multi"},
		{"TDLib's handshake, a tail inside", request(reqPQMulti, 0x6770000012345678, 252, 0), "req_pq_multi"},
		{"Telegram Desktop's probe", request(reqPQ, 4, 63*4, 0), "req_pq"},
		{"Android, a tail outside", request(reqPQMulti, 4, 0, 256), "req_pq_multi"},
		{"our own", AppendReqPQ(nil, nonce, nil), "req_pq_multi"},
	} {
		a := replyTo(test.message, server)
		if a.request != test.request || a.code != 0 || len(a.message) != 84 {
			t.Errorf("%s: %+v", test.name, a)
			continue
		}
		if err := CheckResPQ(a.message, nonce); err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		if id := binary.LittleEndian.Uint64(a.message[8:]); id&3 != 1 {
			t.Errorf("%s: message id %x is not a server's", test.name, id)
		}
		if [nonceLength]byte(a.message[40:]) != server {
			t.Errorf("%s: the server nonce changed", test.name)
		}
	}
}

// TDLib's handshake pads the request to 16 bytes and adds up to 15 blocks; Telegram
// Desktop's probe adds up to 63 words; Android adds up to 256 bytes behind the
// length.
func TestTailsOfEveryLengthAreIgnored(t *testing.T) {
	nonce := [nonceLength]byte(bytes.Repeat([]byte{0xa0}, nonceLength))
	ask := func(constructor uint32, id uint64, tail, behind int) {
		t.Helper()
		if err := CheckResPQ(replyTo(request(constructor, id, tail, behind), newNonce()).message, nonce); err != nil {
			t.Errorf("%08x, tail %d, behind %d: %v", constructor, tail, behind, err)
		}
	}
	for body := 32; body <= 272; body += 16 {
		ask(reqPQMulti, uint64(body/16&1), body-requestLength, 0)
	}
	for words := range 64 {
		ask(reqPQ, 4, 4*words, 0)
	}
	for behind := range 257 {
		ask(reqPQMulti, 4, 0, behind)
	}
}

// Android reads a packet of at most 56 bytes as a service packet. The shortest
// answers are resPQ and the echo of an empty message.
func TestNoAnswerIsShortEnoughForAServicePacket(t *testing.T) {
	empty, _ := Seal(nil, frame.Client)
	for _, message := range [][]byte{request(reqPQ, 0, 0, 0), request(reqPQMulti, 1, 0, 0), empty} {
		if a := replyTo(message, newNonce()); len(a.message) <= longestService {
			t.Errorf("%s: %d bytes", a.name, len(a.message))
		}
	}
}

// longestService is the longest packet that a client may read as a service packet
// such as a transport error, in bytes.
const longestService = 56

// A client may send requests without waiting for the answers, as TDLib pings, and
// encrypted messages without finishing the key exchange. The server nonce of a
// connection stays the same.
func TestPingsProbesAndTrafficShareAConnection(t *testing.T) {
	nonce := [nonceLength]byte(bytes.Repeat([]byte{0xa0}, nonceLength))
	ping := request(reqPQMulti, 1, 0, 0)
	probe := request(reqPQ, 4, 63*4, 0)
	traffic := bytes.Repeat([]byte{1, 2, 3, 4}, 100)
	sealed, _ := Seal(traffic, frame.Client)

	for _, protocol := range frame.Protocols {
		client := connect(t, protocol)
		var serverNonces [][]byte
		for _, p := range exchange(t, client, ping, ping, probe) {
			if err := CheckResPQ(p.Payload, nonce); err != nil {
				t.Fatalf("%v: %v", protocol, err)
			}
			serverNonces = append(serverNonces, bytes.Clone(p.Payload[40:56]))
		}
		if !bytes.Equal(serverNonces[0], serverNonces[1]) || !bytes.Equal(serverNonces[0], serverNonces[2]) {
			t.Errorf("%v: server nonces %x", protocol, serverNonces)
		}
		data, _, err := Open(exchange(t, client, sealed)[0].Payload, frame.Server)
		if err != nil || !bytes.Equal(data, traffic) {
			t.Errorf("%v: %d bytes came back, %v", protocol, len(data), err)
		}
		if err := CheckResPQ(exchange(t, client, ping)[0].Payload, nonce); err != nil {
			t.Errorf("%v, behind traffic: %v", protocol, err)
		}
	}
}

// connect returns a client of a data centre that serves this connection only.
func connect(t *testing.T, protocol mtwire.Protocol) *mtwire.Conn {
	near, far, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	client, err := mtwire.Client(t.Context(), near, mtwire.Endpoint{Protocol: protocol}, nil)
	if err != nil {
		t.Fatal(err)
	}
	server := mtwire.Server(far, nil)
	done := make(chan struct{})
	go func() {
		defer close(done)
		(&DataCenter{}).handle(t.Context(), server)
	}()
	t.Cleanup(func() { client.Close(); <-done; server.Close() })
	return client
}

// exchange sends all messages, then receives as many packets.
func exchange(t *testing.T, client *mtwire.Conn, messages ...[]byte) (answers []mtwire.Packet) {
	t.Helper()
	for _, m := range messages {
		if err := client.Send(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	for range messages {
		p, err := client.Receive(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		p.Payload = bytes.Clone(p.Payload)
		answers = append(answers, p)
	}
	return answers
}

// Every payload that is neither a request for resPQ nor a message under AuthKey is
// answered with error 404.
func TestAllElseIsNotFound(t *testing.T) {
	unknown := bytes.Repeat([]byte{7}, 88)
	sealed, _ := Seal([]byte("data"), frame.Client)
	tampered := bytes.Clone(sealed)
	tampered[len(tampered)-1] ^= 1
	short := request(reqPQ, 0, 0, 0)
	binary.LittleEndian.PutUint32(short[16:], 4)
	long := request(reqPQ, 0, 0, 0)
	binary.LittleEndian.PutUint32(long[16:], 1<<31)
	for name, message := range map[string][]byte{
		"unknown key": unknown, "tampered": tampered, "no nonce": short, "length beyond the end": long,
		"req_DH_params": request(0xd712e4be, 0, 0, 0), "four bytes": {1, 0, 0, 0}, "header only": make([]byte, 20),
	} {
		if a := replyTo(message, newNonce()); a.code != 404 || a.message != nil || a.token != 0 {
			t.Errorf("%s: %+v", name, a)
		}
	}
}

// The echo of a sealed message has the same data, and its quick acknowledgement is
// the one that Seal returned.
func TestSealedMessagesAreEchoed(t *testing.T) {
	for _, size := range []int{0, 4, 12, 1024, 100000} {
		data := bytes.Repeat([]byte{9, 8, 7, 6}, size/4)
		message, token := Seal(data, frame.Client)
		if (len(message)-encryptedHeaderLength)%16 != 0 {
			t.Errorf("%d bytes: message of %d", size, len(message))
		}
		a := replyTo(append(message, 1, 2, 3), newNonce())
		if a.token != token || token>>31 != 1 {
			t.Errorf("%d bytes: token %08x, want %08x", size, a.token, token)
		}
		back, _, err := Open(a.message, frame.Server)
		if err != nil || !bytes.Equal(back, data) {
			t.Errorf("%d bytes: %d came back, %v", size, len(back), err)
		}
	}
}

// No payload panics, and every payload has exactly one answer with a name.
func FuzzAnswer(f *testing.F) {
	f.Add(request(reqPQ, 0, 0, 0))
	sealed, _ := Seal(make([]byte, 16), frame.Client)
	f.Add(sealed)
	f.Fuzz(func(t *testing.T, b []byte) {
		a := replyTo(b, [nonceLength]byte{})
		if (a.code == 0) == (a.message == nil) || a.code == 0 && len(a.message) <= longestService || a.request == "" || a.name == "" {
			t.Fatalf("%+v", a)
		}
	})
}
