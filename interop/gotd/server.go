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
	// DC is the number of a test server for clients that do not say which
	// they mean.
	DC = 2

	// What help.getConfig answers, so that the answer is known to be this
	// server's.
	configTMe = "https://interop.invalid/"

	// silence is how long a client may say nothing. gotd's client pings once a
	// minute, but gotd's server by itself ends a connection after half a
	// minute.
	silence = 3 * time.Minute
)

// NewServer makes gotd's MTProto server for data centre dc with a few methods: help.getConfig,
// auth.bindTempAuthKey, and a file store: upload.saveFilePart keeps one file,
// which upload.getFile returns for a takeout location. For the location of a
// document it returns bytes that follow from the document's number.
//
// One tgtest.Server must not serve two clients at a time: it guards its map of
// auth keys with one mutex when it writes, and with another when it reads.
func NewServer(key exchange.PrivateKey, dc int) *tgtest.Server {
	return tgtest.NewServer(key, noteSessions(tgtest.UnpackInvoke(methods())), tgtest.ServerOptions{DC: dc, ReadTimeout: silence})
}

func methods() *tgtest.Dispatcher {
	d := tgtest.NewDispatcher()
	config.NewService(&tg.Config{MeURLPrefix: configTMe}, &tg.CDNConfig{}).Register(d)
	d.HandleFunc(tg.AuthBindTempAuthKeyRequestTypeID, func(server *tgtest.Server, req *tgtest.Request) error {
		return server.SendBool(req, true)
	})

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
	// Over HTTP a message must wait for a request that it can answer, and
	// http_wait makes one. gotd's client sends everything on one connection
	// here, so no request may remain without an answer: this one gets a
	// message that says nothing new.
	d.HandleFunc(mt.HTTPWaitRequestTypeID, func(server *tgtest.Server, req *tgtest.Request) error {
		return server.SendAck(req.RequestCtx, req.Session, req.MsgID)
	})
	d.Fallback(tgtest.HandlerFunc(services.NotImplemented))
	return d
}

// documentBytes are the same for the same number.
func documentBytes(id int64, length int) []byte {
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], uint64(id))
	b := make([]byte, max(0, min(length, MaxFile)))
	rand.NewChaCha8(seed).Read(b)
	return b
}

// sessionsKey is where a connection's context has its sessions.
type sessionsKey struct{}

// sessions are those that used a connection. A server answers on the first
// connection that a session had, until it is told that it is gone.
type sessions struct {
	mu  sync.Mutex
	all map[int64]tgtest.Session
}

// noteSessions makes a handler that notes who uses the connection.
func noteSessions(next tgtest.Handler) tgtest.Handler {
	return tgtest.HandlerFunc(func(server *tgtest.Server, req *tgtest.Request) error {
		if s, ok := req.RequestCtx.Value(sessionsKey{}).(*sessions); ok {
			s.mu.Lock()
			s.all[req.Session.ID] = req.Session
			s.mu.Unlock()
		}
		return next.OnMessage(server, req)
	})
}

// forget tells the server that the connection of these sessions is gone.
func (s *sessions) forget(server *tgtest.Server) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, session := range s.all {
		server.ForceDisconnect(session)
	}
}
