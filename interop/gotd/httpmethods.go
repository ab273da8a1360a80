package gotd

import (
	"bytes"
	"math"
	"time"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/mt"
	"github.com/gotd/td/proto"
	"github.com/gotd/td/tg"
)

// handle handles an object of a client, and returns how long its request waits for
// messages: not at all, unless it is http_wait. Under mu.
func (d *HTTPDataCenter) handle(s *httpSession, message int64, b *bin.Buffer) (wait time.Duration, err error) {
	id, err := b.PeekID()
	if err != nil {
		return 0, err
	}
	switch id {
	case mt.HTTPWaitRequestTypeID:
		var r mt.HTTPWaitRequest
		err := r.Decode(b)
		return time.Duration(r.MaxWait) * time.Millisecond, err
	case mt.MsgsAckTypeID:
		return 0, nil
	case mt.PingRequestTypeID:
		var r mt.PingRequest
		if err := r.Decode(b); err != nil {
			return 0, err
		}
		return 0, d.queue(s, proto.MessageServerResponse, &mt.Pong{MsgID: message, PingID: r.PingID})
	case mt.PingDelayDisconnectRequestTypeID:
		var r mt.PingDelayDisconnectRequest
		if err := r.Decode(b); err != nil {
			return 0, err
		}
		return 0, d.queue(s, proto.MessageServerResponse, &mt.Pong{MsgID: message, PingID: r.PingID})
	case mt.GetFutureSaltsRequestTypeID:
		salts := []mt.FutureSalt{{ValidSince: 1, ValidUntil: math.MaxInt32, Salt: 10}}
		return 0, d.queue(s, proto.MessageServerResponse, &mt.FutureSalts{ReqMsgID: message, Now: int(time.Now().Unix()), Salts: salts})
	case proto.GZIPTypeID:
		var content proto.GZIP
		if err := content.Decode(b); err != nil {
			return 0, err
		}
		return d.handle(s, message, &bin.Buffer{Buf: content.Data})
	case proto.MessageContainerTypeID:
		var container proto.MessageContainer
		if err := container.Decode(b); err != nil {
			return 0, err
		}
		for _, m := range container.Messages {
			its, err := d.handle(s, m.ID, &bin.Buffer{Buf: m.Body})
			if wait = max(wait, its); err != nil {
				return 0, err
			}
		}
		return wait, nil
	}
	result, err := d.call(b)
	if err != nil {
		return 0, err
	}
	var encoded bin.Buffer
	if err := result.Encode(&encoded); err != nil {
		return 0, err
	}
	return 0, d.queue(s, proto.MessageServerResponse, &proto.Result{RequestMessageID: message, Result: encoded.Buf})
}

// call returns the result of a method.
func (d *HTTPDataCenter) call(b *bin.Buffer) (bin.Encoder, error) {
	id, err := b.PeekID()
	for err == nil {
		var outer bin.Decoder
		inner := &peeked{}
		switch id {
		case tg.InvokeWithLayerRequestTypeID:
			outer = &tg.InvokeWithLayerRequest{Query: inner}
		case tg.InitConnectionRequestTypeID:
			outer = &tg.InitConnectionRequest{Query: inner}
		case tg.InvokeWithoutUpdatesRequestTypeID:
			outer = &tg.InvokeWithoutUpdatesRequest{Query: inner}
		default:
			return d.method(id, b)
		}
		err = outer.Decode(b)
		id = inner.id
	}
	return nil, err
}

// peeked is the query within another one, which is decoded later.
type peeked struct{ id uint32 }

func (p *peeked) Decode(b *bin.Buffer) (err error) {
	p.id, err = b.PeekID()
	return err
}

func (p *peeked) Encode(*bin.Buffer) error { return nil }

func (d *HTTPDataCenter) method(id uint32, b *bin.Buffer) (bin.Encoder, error) {
	switch id {
	case tg.HelpGetConfigRequestTypeID:
		return &tg.Config{
			ThisDC: d.dc, MeURLPrefix: configTMe, Expires: math.MaxInt32,
			DCOptions: []tg.DCOption{{ID: d.dc, IPAddress: "192.0.2.1", Port: 443}, {ID: d.dc, MediaOnly: true, IPAddress: "192.0.2.2", Port: 443}},
		}, nil
	case tg.AuthBindTempAuthKeyRequestTypeID:
		return &tg.BoolTrue{}, nil
	case tg.AuthExportAuthorizationRequestTypeID:
		return &mt.RPCError{ErrorCode: 401, ErrorMessage: "AUTH_KEY_UNREGISTERED"}, nil
	case tg.UploadSaveFilePartRequestTypeID:
		var r tg.UploadSaveFilePartRequest
		if err := r.Decode(b); err != nil {
			return nil, err
		}
		d.stored = bytes.Clone(r.Bytes)
		return &tg.BoolTrue{}, nil
	case tg.UploadGetFileRequestTypeID:
		var r tg.UploadGetFileRequest
		if err := r.Decode(b); err != nil {
			return nil, err
		}
		file := d.stored
		if document, ok := r.Location.(*tg.InputDocumentFileLocation); ok {
			file = documentBytes(document.ID, r.Limit)
		}
		return &tg.UploadFile{Type: &tg.StorageFileUnknown{}, Bytes: file}, nil
	}
	return &mt.RPCError{ErrorCode: 501, ErrorMessage: "NOT_IMPLEMENTED"}, nil
}
