package gotd

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/crypto"
	"github.com/gotd/td/exchange"
	"github.com/gotd/td/mt"
)

// unencryptedHeader is the length of what an unencrypted message has in front of its
// object: the auth key id, the message id and the length.
const unencryptedHeader = 20

// withRSAPad returns a message of a client for gotd's server, which knows only RSA_PAD. If
// the message is a req_DH_params whose data a client has encrypted with its SHA-1 in front,
// as Telegram still accepts it, the data is encrypted anew.
// Specification: https://core.telegram.org/mtproto/auth_key#41-rsa-paddata-server-public-key-mentioned-above-is-implemented-as-follows
func withRSAPad(message []byte, key exchange.PrivateKey) []byte {
	var request mt.ReqDHParamsRequest
	if object(message) != mt.ReqDHParamsRequestTypeID || request.Decode(&bin.Buffer{Buf: bytes.Clone(message[unencryptedHeader:])}) != nil {
		return message
	}
	data, err := crypto.RSADecryptHashed(request.EncryptedData, key.RSA)
	if err != nil {
		return message
	}
	if request.EncryptedData, err = crypto.RSAPad(data, &key.RSA.PublicKey, rand.Reader); err != nil {
		return message
	}
	var b bin.Buffer
	if request.Encode(&b) != nil {
		return message
	}
	header := bytes.Clone(message[:unencryptedHeader])
	binary.LittleEndian.PutUint32(header[unencryptedHeader-4:], uint32(b.Len()))
	return append(header, b.Raw()...)
}
