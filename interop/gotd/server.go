package gotd

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/gotd/td/exchange"
	"github.com/gotd/td/mt"
	"github.com/gotd/td/tg"
	"github.com/gotd/td/tgtest"
	"github.com/gotd/td/tgtest/services"
	"github.com/gotd/td/tgtest/services/config"
)

const (
	// DC is the DC id of a test server for clients that do not name one.
	DC = 2

	// configTMe is a field of help.getConfig's answer, by which a client
	// recognizes this server.
	configTMe = "https://interop.invalid/"

	// readTimeout is how long a client may send nothing. gotd's client pings
	// once a minute, but the default of gotd's server is half a minute.
	readTimeout = 3 * time.Minute
)

// NewServer returns gotd's MTProto server for data centre dc, with the methods
// help.getConfig, auth.bindTempAuthKey, upload.saveFilePart, upload.getFile and
// langpack.getStrings. upload.saveFilePart stores one file, which upload.getFile
// returns for a takeout location. For a document's location upload.getFile returns
// bytes that are derived from the document's id; langpack.getStrings returns strings
// that are derived from their keys.
//
// One tgtest.Server must not serve two clients at a time: it guards its map of
// auth keys with one mutex when it writes, and with another when it reads.
func NewServer(key exchange.PrivateKey, dc int) *tgtest.Server {
	return tgtest.NewServer(key, recordSessions(tgtest.UnpackInvoke(methods())), tgtest.ServerOptions{DC: dc, ReadTimeout: readTimeout})
}

func methods() *tgtest.Dispatcher {
	d := tgtest.NewDispatcher()
	config.NewService(&tg.Config{MeURLPrefix: configTMe}, &tg.CDNConfig{}).Register(d)
	d.HandleFunc(tg.AuthBindTempAuthKeyRequestTypeID, func(server *tgtest.Server, req *tgtest.Request) error {
		return server.SendBool(req, true)
	})

	registerStrings(d)
	var mu sync.Mutex
	var stored []byte
	d.HandleFunc(tg.UploadSaveFilePartRequestTypeID, func(server *tgtest.Server, req *tgtest.Request) error {
		var save tg.UploadSaveFilePartRequest
		if err := save.Decode(req.Buf); err != nil {
			return err
		}
		mu.Lock()
		stored = bytes.Clone(save.Bytes)
		mu.Unlock()
		return server.SendBool(req, true)
	})
	d.HandleFunc(tg.UploadGetFileRequestTypeID, func(server *tgtest.Server, req *tgtest.Request) error {
		var get tg.UploadGetFileRequest
		if err := get.Decode(req.Buf); err != nil {
			return err
		}
		mu.Lock()
		file := stored
		mu.Unlock()
		if document, ok := get.Location.(*tg.InputDocumentFileLocation); ok {
			file = documentBytes(document.ID, get.Limit)
		}
		return server.SendResult(req, &tg.UploadFile{Type: &tg.StorageFileUnknown{}, Bytes: file})
	})
	// Over HTTP, a message of the server must wait for a request, and http_wait
	// is such a request. gotd's client has one connection here, which a request
	// without an answer would block. So http_wait gets an acknowledgement.
	// Specification: https://core.telegram.org/mtproto/service_messages
	d.HandleFunc(mt.HTTPWaitRequestTypeID, func(server *tgtest.Server, req *tgtest.Request) error {
		return server.SendAck(req.RequestCtx, req.Session, req.MsgID)
	})
	d.Fallback(tgtest.HandlerFunc(services.NotImplemented))
	return d
}

// documentBytes returns the bytes of the document with that id.
func documentBytes(id int64, length int) []byte {
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], uint64(id))
	b := make([]byte, max(0, min(length, MaxFile)))
	rand.NewChaCha8(seed).Read(b)
	return b
}

// sessionsKey is the key of a connection's *sessions in its context.
type sessionsKey struct{}

// sessions are the sessions that used a connection. A server sends a session's
// answers on the session's first connection until ForceDisconnect.
type sessions struct {
	mu  sync.Mutex
	all map[int64]tgtest.Session
}

// recordSessions returns a handler that adds the session of each request to the
// connection's sessions.
func recordSessions(next tgtest.Handler) tgtest.Handler {
	return tgtest.HandlerFunc(func(server *tgtest.Server, req *tgtest.Request) error {
		if s, ok := req.RequestCtx.Value(sessionsKey{}).(*sessions); ok {
			s.mu.Lock()
			s.all[req.Session.ID] = req.Session
			s.mu.Unlock()
		}
		return next.OnMessage(server, req)
	})
}

// disconnect tells the server that the connection of these sessions has ended.
func (s *sessions) disconnect(server *tgtest.Server) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, session := range s.all {
		server.ForceDisconnect(session)
	}
}
