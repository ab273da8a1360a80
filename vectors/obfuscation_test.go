package vectors_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/obfuscation"
)

// secrets parses the server's secrets of a case, which may have none.
func (r *reader) secrets() []mtproxy.Secret {
	var all []mtproxy.Secret
	for _, text := range r.all("secret") {
		s, err := mtproxy.ParseSecret(text)
		if err != nil {
			r.fail("secret", "%v", err)
		}
		all = append(all, s)
	}
	return all
}

// keys returns the keys of the case's secrets.
func (r *reader) keys() (keys [][16]byte) {
	for _, secret := range r.secrets() {
		keys = append(keys, secret.Key)
	}
	return keys
}

func checkInit(r *reader, d depth) error {
	keys := r.keys()
	wire := [obfuscation.InitLength]byte(r.fixed("wire", obfuscation.InitLength))
	if word, ok := r.optional("error"); ok {
		_, err := obfuscation.Match(&wire, keys)
		if !errors.Is(err, obfuscation.ErrNoMatch) || word != "no-match" {
			return fmt.Errorf("matched with %v, want %s", err, word)
		}
		return nil
	}
	want := obfuscation.ClientConfig{Protocol: r.protocol("protocol"), DC: datacenter.DC(r.number("dc")), AllowFull: true}
	if len(keys) > 0 {
		want.Key = &keys[0]
	}
	init := r.fixed("init", obfuscation.InitLength)
	ekey, eiv := r.fixed("ekey", 32), r.fixed("eiv", 16)
	dkey, div := r.fixed("dkey", 32), r.fixed("div", 16)
	upload, uploadWire := r.bytes("upload"), r.bytes("upload-wire")
	download, downloadWire := r.bytes("download"), r.bytes("download-wire")
	encrypted, hasEncrypted := r.optional("encrypted")
	if r.err != nil {
		return nil
	}

	// The standard library encrypts the init payload with the keys of the case.
	block := make([]byte, obfuscation.InitLength)
	ctr(ekey, eiv).XORKeyStream(block, init)
	if hasEncrypted {
		if err := equal("encrypted", block, r.hex("encrypted", encrypted)); err != nil {
			return err
		}
	}
	if err := equal("wire, from the keys", append(bytes.Clone(init[:56]), block[56:]...), wire[:]); err != nil {
		return err
	}
	plain := make([]byte, len(downloadWire))
	ctr(dkey, div).XORKeyStream(plain, downloadWire)
	if err := equal("download, from the keys", plain, download); err != nil {
		return err
	}

	for pieces := range d.arrivals(uploadWire) {
		got, err := match(wire, keys, want.Protocol, uploadWire)
		if err != nil {
			return err
		}
		index := -1
		if want.Key != nil {
			index = 0
		}
		if got.Protocol != want.Protocol || got.DC != want.DC || got.Key != index {
			return fmt.Errorf("server read %v, DC %v, key %d", got.Protocol, got.DC, got.Key)
		}
		streams := got.Streams(frame.Server)
		if err := equal("download key stream", got.Download[:], append(bytes.Clone(dkey), div...)); err != nil {
			return err
		}
		if err := equal("upload at server", crypt(streams.Receive, pieces...), upload); err != nil {
			return fmt.Errorf("%s: %w", describe(pieces), err)
		}
		if err := equal("download at server", crypt(streams.Send, download), downloadWire); err != nil {
			return err
		}
	}

	want.Rand = bytes.NewReader(init)
	sent, announced, err := obfuscation.NewInit(&want)
	if err != nil {
		return err
	}
	streams := announced.Streams(frame.Client)
	if err := equal("client's init payload", sent[:], wire[:]); err != nil {
		return err
	}
	if err := equal("upload at client", crypt(streams.Send, upload), uploadWire); err != nil {
		return err
	}
	for pieces := range d.arrivals(downloadWire) {
		_, announced, err := obfuscation.NewInit(&obfuscation.ClientConfig{
			Protocol: want.Protocol, DC: want.DC, Key: want.Key, AllowFull: true, Rand: bytes.NewReader(init),
		})
		if err != nil {
			return err
		}
		if err := equal("download at client", crypt(announced.Streams(frame.Client).Receive, pieces...), download); err != nil {
			return fmt.Errorf("%s: %w", describe(pieces), err)
		}
	}
	return nil
}

// match matches init as a server does that expects Full if protocol is Full.
func match(init [obfuscation.InitLength]byte, keys [][16]byte, protocol frame.Protocol, upload []byte) (obfuscation.Init, error) {
	if protocol != frame.Full {
		return obfuscation.Match(&init, keys)
	}
	if got, err := obfuscation.Match(&init, keys); err == nil {
		return got, errors.New("matched Full as another framing")
	}
	first := [obfuscation.FullLength]byte(append(init[:], upload...))
	return obfuscation.MatchFull(&first, keys, 0)
}

func ctr(key, iv []byte) cipher.Stream {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err)
	}
	return cipher.NewCTR(block, iv)
}

func crypt(s cipher.Stream, pieces ...[]byte) []byte {
	var all []byte
	for _, piece := range pieces {
		out := make([]byte, len(piece))
		s.XORKeyStream(out, piece)
		all = append(all, out...)
	}
	return all
}

func checkForbidden(r *reader, _ depth) error {
	return same("forbidden", obfuscation.Forbidden([8]byte(r.fixed("first", 8))), r.yes("forbidden"))
}

func checkDC(r *reader, _ depth) error {
	text, want := r.text("dc"), r.fixed("bytes", 2)
	dc, err := datacenter.ParseDC(text)
	if err != nil {
		return err
	}
	// The bytes are at 60..62 of a client's init payload.
	init, _, err := obfuscation.NewInit(&obfuscation.ClientConfig{Protocol: frame.Abridged, DC: dc})
	if err != nil {
		return err
	}
	clear := make([]byte, len(init))
	ctr(init[8:40], init[40:56]).XORKeyStream(clear, init[:])
	if err := equal("bytes", clear[60:62], want); err != nil {
		return err
	}
	got, err := obfuscation.Match(&init, nil)
	return errors.Join(err,
		same("DC at server", got.DC, datacenter.DC(binary.LittleEndian.Uint16(want))),
		same("text", dc.String(), text),
		same("id", int64(dc.ID()), r.number("id")),
		same("in-test", dc.Test(), r.yes("in-test")),
		same("media", dc.Media(), r.yes("media")))
}

func checkSecret(r *reader, _ depth) error {
	got, err := mtproxy.ParseSecret(r.text("text"))
	if want, ok := r.optional("mtwire"); ok {
		return refused(err, want)
	}
	if err != nil {
		return err
	}
	domain, digits, base := r.text("domain"), r.text("hex"), r.text("base64url")
	err = errors.Join(
		same("mode", got.Mode.String(), r.text("mode")),
		equal("key", got.Key[:], r.fixed("key", 16)),
		same("domain", got.Domain, domain),
		same("hex", got.String(), digits),
		same("base64url", got.Base64URL(), base))
	for _, text := range []string{digits, base} {
		again, parseErr := mtproxy.ParseSecret(text)
		err = errors.Join(err, parseErr, same("read back", again, got))
	}
	again, parseErr := mtproxy.ParseSecretBytes(r.bytes("hex"))
	return errors.Join(err, parseErr, same("from bytes", again, got))
}

// refused compares an error with the text expected.
func refused(err error, want string) error {
	if err == nil {
		return errUnexpected
	}
	return same("error text", err.Error(), want)
}

func checkLink(r *reader, _ depth) error {
	got, err := mtproxy.ParseLink(r.text("text"))
	if want, ok := r.optional("mtwire"); ok {
		return refused(err, want)
	}
	if err != nil {
		return err
	}
	tg, https := r.text("tg"), r.text("https")
	err = errors.Join(
		same("server", got.Server, r.text("server")),
		same("port", int64(got.Port), r.number("port")),
		equal("secret", got.Secret.Bytes(), r.bytes("hex")),
		same("tg", got.String(), tg),
		same("https", got.HTTPS(), https))
	for _, text := range []string{tg, https} {
		again, parseErr := mtproxy.ParseLink(text)
		err = errors.Join(err, parseErr, same("read back", again, got))
	}
	return err
}

// checkMessage compares an unencrypted message with its fields, and with the payload
// that the library decodes from a padded frame.
func checkMessage(r *reader, d depth) error {
	wire := r.bytes("wire")
	var body []byte
	switch function := r.text("function"); function {
	case "req_pq":
		body = append([]byte{0x78, 0x97, 0x46, 0x60}, r.fixed("nonce", 16)...)
	case "req_pq_multi":
		body = append([]byte{0xf1, 0x8e, 0x7e, 0xbe}, r.fixed("nonce", 16)...)
	case "resPQ":
		body = append([]byte{0x63, 0x24, 0x16, 0x05}, r.fixed("nonce", 16)...)
		body = append(body, r.fixed("server-nonce", 16)...)
		body = append(append(append(body, 8), r.fixed("pq", 8)...), 0, 0, 0)
		fingerprints := r.all("fingerprint")
		body = append(body, 0x15, 0xc4, 0xb5, 0x1c)
		body = binary.LittleEndian.AppendUint32(body, uint32(len(fingerprints)))
		for _, text := range fingerprints {
			b, err := hex.DecodeString(text)
			if err != nil || len(b) != 8 {
				return fmt.Errorf("fingerprint %q", text)
			}
			body = binary.LittleEndian.AppendUint64(body, binary.BigEndian.Uint64(b))
		}
	default:
		return fmt.Errorf("no function %q", function)
	}
	if r.has("tail") {
		body = append(body, r.bytes("tail")...)
	}
	message := make([]byte, 8)
	message = binary.LittleEndian.AppendUint64(message, uint64(r.number("message-id")))
	message = binary.LittleEndian.AppendUint32(message, uint32(r.number("length")))
	if err := equal("message", append(message, body...), wire); err != nil || r.err != nil {
		return err
	}
	padding := bytes.Repeat([]byte{0x5a}, 13)
	encoder := frame.Encoder{Protocol: frame.PaddedIntermediate}
	framed, err := encoder.Append(nil, frame.Packet{Payload: wire, Padding: padding})
	if err != nil {
		return err
	}
	for pieces := range d.arrivals(framed) {
		got := decode(&frame.Decoder{Protocol: frame.PaddedIntermediate, From: frame.Server}, pieces)
		if err := got.diff(stream{packets: []frame.Packet{{Payload: wire, Padding: padding}}}); err != nil {
			return fmt.Errorf("%s: %w", describe(pieces), err)
		}
	}
	return nil
}
