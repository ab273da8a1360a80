package interop

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/crypto"
	"github.com/gotd/td/exchange"
	"github.com/gotd/td/mt"
	"github.com/gotd/td/proto/codec"
	"github.com/gotd/td/tg"
	"github.com/gotd/td/tgtest"
	"github.com/gotd/td/tgtest/services"
	"github.com/gotd/td/tgtest/services/config"
	"github.com/gotd/td/transport"

	"github.com/mtwire/mtwire"
)

const (
	dcID = 2

	// What help.getConfig answers, so that the answer is known to be this
	// server's.
	configTMe = "https://interop.invalid/"
)

// serverKey is the RSA key of every test server. Making one takes a while.
var serverKey = sync.OnceValues(func() (*rsa.PrivateKey, error) {
	return rsa.GenerateKey(rand.Reader, crypto.RSAKeyBits)
})

func rsaKey(t testing.TB) exchange.PrivateKey {
	key, err := serverKey()
	if err != nil {
		t.Fatal(err)
	}
	return tgtest.NewPrivateKey(key)
}

// newDatacenter makes gotd's MTProto server with three methods:
// help.getConfig, and a file store of one file: upload.saveFilePart and
// upload.getFile.
//
// Each connection gets a server of its own, where possible. One tgtest.Server
// must not serve two at a time: it guards its map of auth keys with one mutex
// when it writes, and with another when it reads.
func newDatacenter(key exchange.PrivateKey) *tgtest.Server {
	methods := tgtest.NewDispatcher()
	config.NewService(&tg.Config{MeURLPrefix: configTMe}, &tg.CDNConfig{}).Register(methods)

	var stored []byte
	methods.HandleFunc(tg.UploadSaveFilePartRequestTypeID, func(server *tgtest.Server, req *tgtest.Request) error {
		var save tg.UploadSaveFilePartRequest
		if err := save.Decode(req.Buf); err != nil {
			return err
		}
		stored = bytes.Clone(save.Bytes)
		return server.SendBool(req, true)
	})
	methods.HandleFunc(tg.UploadGetFileRequestTypeID, func(server *tgtest.Server, req *tgtest.Request) error {
		var get tg.UploadGetFileRequest
		if err := get.Decode(req.Buf); err != nil {
			return err
		}
		return server.SendResult(req, &tg.UploadFile{Type: &tg.StorageFileUnknown{}, Bytes: stored})
	})
	// Over HTTP a message must wait for a request that it can answer, and
	// http_wait makes one. gotd's client sends everything on one connection
	// here, so no request may remain without an answer: this one gets a
	// message that says nothing new.
	methods.HandleFunc(mt.HTTPWaitRequestTypeID, func(server *tgtest.Server, req *tgtest.Request) error {
		return server.SendAck(req.RequestCtx, req.Session, req.MsgID)
	})
	methods.Fallback(tgtest.HandlerFunc(services.NotImplemented))

	return tgtest.NewServer(key, tgtest.UnpackInvoke(methods), tgtest.ServerOptions{DC: dcID})
}

// bare is Intermediate without its header: the framing on the pipes inside
// this process, between an mtwire.Conn and gotd's server.
var bare = transport.NewProtocol(func() transport.Codec { return codec.NoHeader{Codec: codec.Intermediate{}} })

// bridge gives a connection that mtwire accepted to a server of gotd's: it
// passes on payloads, and transport errors as such. It returns when either
// side has ended, and all that it started with it.
func bridge(ctx context.Context, conn *mtwire.Conn, server *tgtest.Server) error {
	ctx, cancel := context.WithCancel(ctx)
	inner, outer := net.Pipe()
	listener := newOneConnListener(inner)
	var tasks sync.WaitGroup
	defer tasks.Wait()
	defer cancel()
	defer outer.Close()
	defer conn.Close()
	defer listener.Close()

	tasks.Go(func() { server.Serve(ctx, transport.ListenCodec(bare.Codec, listener)) })
	datacenter, err := bare.Handshake(outer)
	if err != nil {
		return err
	}
	tasks.Go(func() {
		defer conn.Close()
		var b bin.Buffer
		for {
			err := datacenter.Recv(ctx, &b)
			var refused *codec.ProtocolErr
			switch {
			case errors.As(err, &refused):
				err = conn.SendError(ctx, uint32(refused.Code))
			case err == nil:
				err = conn.Send(ctx, b.Buf)
			}
			if err != nil {
				return
			}
		}
	})
	for {
		p, err := conn.Receive(ctx)
		if err != nil {
			return err
		}
		if p.Kind != mtwire.KindPayload {
			return fmt.Errorf("a client sent %v", p.Kind)
		}
		// A copy: gotd's codecs write behind the message that they are given.
		if err := datacenter.Send(ctx, &bin.Buffer{Buf: bytes.Clone(p.Payload)}); err != nil {
			return err
		}
	}
}

// oneConnListener is a listener that has one connection.
type oneConnListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newOneConnListener(conn net.Conn) *oneConnListener {
	l := &oneConnListener{conns: make(chan net.Conn, 1), closed: make(chan struct{})}
	l.conns <- conn
	return l
}

func (l *oneConnListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *oneConnListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *oneConnListener) Addr() net.Addr { return &net.TCPAddr{} }

// limit bounds a test that hangs.
const limit = 30 * time.Second
