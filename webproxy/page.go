//go:build !js

package webproxy

import (
	"crypto/rand"
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
)

// servePage answers GET of the base path with a capability. Over the rate of pages,
// it is the site's.
func (s *Server) servePage(w http.ResponseWriter, r *http.Request) bool {
	text, ok := strings.CutPrefix(r.URL.RawQuery, "bridge=")
	if !ok || r.Method != http.MethodGet {
		return false
	}
	u := s.user(text)
	if u == nil {
		return false
	}
	bootstrap, ok := s.issueBootstrap(u)
	if !ok {
		return false
	}
	var random [18]byte // 24 characters: not to be taken for a token
	rand.Read(random[:])
	nonce := base64.RawURLEncoding.EncodeToString(random[:])
	page := `<!DOCTYPE html><html><head><meta charset="utf-8"><title></title></head><body>` +
		`<script type="application/json" nonce="` + nonce + `">{"bootstrap":"` + bootstrap.String() + `","carrier":"` + u.Carrier.String() + `"}</script></body></html>` + "\n"
	answer(w, http.StatusOK,
		"Content-Type", "text/html",
		"Content-Length", strconv.Itoa(len(page)),
		"Content-Security-Policy", "default-src 'none'; base-uri 'none'; connect-src 'self' wss://"+s.host+
			"; form-action 'none'; frame-ancestors http://127.0.0.1:*; script-src 'nonce-"+nonce+"'; sandbox allow-same-origin allow-scripts",
		"Referrer-Policy", "no-referrer",
		"X-Content-Type-Options", "nosniff",
	)
	w.Write([]byte(page))
	return true
}
