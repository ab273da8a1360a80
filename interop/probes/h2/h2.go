// Package h2 is a minimal HTTP/2 client for one connection. It makes one request at a
// time, and sends nothing between requests, so that what a server sends when it is
// idle meets no answer.
package h2

import (
	"bytes"
	"fmt"
	"io"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// The windows are those of Chrome, and larger than all that is requested.
const (
	streamWindow     = 6 << 20
	connectionWindow = 15 << 20
)

// Client is an HTTP/2 client. Its methods must not be called concurrently.
type Client struct {
	domain string
	conn   io.Writer
	framer *http2.Framer
	block  bytes.Buffer
	hpack  *hpack.Encoder
	stream uint32 // of the next request
}

// Answer is the answer to a request.
type Answer struct {
	// Settings are the server's, if they came with this answer.
	Settings []http2.Setting
	// Fields are the header's, in their order.
	Fields []hpack.HeaderField
	Body   []byte
}

// New returns a client for the domain. It sends nothing before the first request.
func New(conn io.ReadWriter, domain string) *Client {
	c := &Client{domain: domain, conn: conn, framer: http2.NewFramer(conn, conn), stream: 1}
	c.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	c.hpack = hpack.NewEncoder(&c.block)
	return c
}

// Get requests a path, and reads the answer to its end. An error is final.
func (c *Client) Get(path string) (a Answer, err error) {
	if err := c.request(path); err != nil {
		return a, err
	}
	stream := c.stream
	c.stream += 2
	for {
		frame, err := c.framer.ReadFrame()
		if err != nil {
			return a, err
		}
		switch f := frame.(type) {
		case *http2.SettingsFrame:
			if f.IsAck() {
				continue
			}
			f.ForeachSetting(func(s http2.Setting) error {
				a.Settings = append(a.Settings, s)
				return nil
			})
			if err := c.framer.WriteSettingsAck(); err != nil {
				return a, err
			}
		case *http2.MetaHeadersFrame:
			a.Fields = append(a.Fields, f.Fields...)
		case *http2.DataFrame:
			a.Body = append(a.Body, f.Data()...)
		case *http2.GoAwayFrame:
			return a, fmt.Errorf("h2: GOAWAY, %v", f.ErrCode)
		case *http2.RSTStreamFrame:
			return a, fmt.Errorf("h2: RST_STREAM, %v", f.ErrCode)
		}
		if h := frame.Header(); h.StreamID == stream && (h.Type == http2.FrameData || h.Type == http2.FrameHeaders) && h.Flags.Has(http2.FlagDataEndStream) {
			return a, nil
		}
	}
}

// request sends a request, with the preface ahead of the first one, in one Write.
func (c *Client) request(path string) error {
	var b bytes.Buffer
	out := http2.NewFramer(&b, nil)
	if c.stream == 1 {
		b.WriteString(http2.ClientPreface)
		out.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: streamWindow})
		out.WriteWindowUpdate(0, connectionWindow)
	}
	c.block.Reset()
	for _, f := range []hpack.HeaderField{
		{Name: ":method", Value: "GET"}, {Name: ":authority", Value: c.domain},
		{Name: ":scheme", Value: "https"}, {Name: ":path", Value: path},
	} {
		c.hpack.WriteField(f)
	}
	out.WriteHeaders(http2.HeadersFrameParam{StreamID: c.stream, BlockFragment: c.block.Bytes(), EndStream: true, EndHeaders: true})
	_, err := c.conn.Write(b.Bytes())
	return err
}
