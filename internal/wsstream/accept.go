package wsstream

import (
	"bytes"
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
)

// IsUpgrade reports whether r asks for a WebSocket in a way that Accept answers.
//
// Specification: https://www.rfc-editor.org/rfc/rfc6455#section-4.2.1
func IsUpgrade(r *http.Request) bool {
	has := func(name, want string) bool {
		for value := range strings.SplitSeq(strings.Join(r.Header[name], ","), ",") {
			if strings.EqualFold(strings.TrimSpace(value), want) {
				return true
			}
		}
		return false
	}
	return r.Method == http.MethodGet && r.ProtoMajor == 1 && r.ProtoAtLeast(1, 1) &&
		has("Connection", "upgrade") && has("Upgrade", "websocket") &&
		r.Header.Get("Sec-Websocket-Version") == "13" && len(r.Header["Sec-Websocket-Key"]) == 1 && isKey(r.Header["Sec-Websocket-Key"][0])
}

// isKey reports whether text is 16 bytes in base64.
func isKey(text string) bool {
	b, err := base64.StdEncoding.DecodeString(text)
	return err == nil && len(b) == 16
}

// Accept answers r, for which IsUpgrade returns true, with a WebSocket that has a
// sub-protocol and no extension. Its messages have max bytes at most. If it returns an error,
// r is answered.
func Accept(w http.ResponseWriter, r *http.Request, subprotocol string, max int) (*Server, error) {
	if !canHijack(w) {
		http.Error(w, http.StatusText(http.StatusNotImplemented), http.StatusNotImplemented)
		return nil, http.ErrNotSupported
	}
	h := w.Header()
	h.Set("Upgrade", "websocket")
	h.Set("Connection", "Upgrade")
	h.Set("Sec-WebSocket-Accept", accept(r.Header.Get("Sec-Websocket-Key")))
	h.Set("Sec-WebSocket-Protocol", subprotocol)
	w.WriteHeader(http.StatusSwitchingProtocols)
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, err
	}
	// What the client has sent already. The buffers of package http are dropped.
	early, err := buffered.Reader.Peek(buffered.Reader.Buffered())
	if err == nil {
		err = buffered.Writer.Flush()
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return NewServer(conn, bytes.Clone(early), max), nil
}

// canHijack reports whether w, or a ResponseWriter in it, has a connection to take over.
func canHijack(w http.ResponseWriter) bool {
	for {
		if _, ok := w.(http.Hijacker); ok {
			return true
		}
		outer, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return false
		}
		w = outer.Unwrap()
	}
}
