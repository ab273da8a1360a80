package web

import (
	"errors"
	"fmt"
	"io/fs"
	"log"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"os"
	"path"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Site is the web site that visitors see. It answers every request.
type Site struct {
	handler http.Handler
	root    *os.Root // of a directory
	// readsBodies is set for a server behind this one: how long a body takes is its affair.
	readsBodies bool
}

// ServeHTTP answers a request.
func (s *Site) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// NewSite returns a site. where is a directory with files, or http://HOST[:PORT] of a
// server that has the site, or "" for a page of our own.
func NewSite(where string, log *slog.Logger) (*Site, error) {
	switch {
	case where == "":
		return &Site{handler: http.HandlerFunc(servePlain)}, nil
	case strings.Contains(where, "://"):
		target, err := parseTarget(where)
		if err != nil {
			return nil, err
		}
		return &Site{handler: newForward(target, log), readsBodies: true}, nil
	}
	info, err := os.Stat(where)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w: want a directory, or http://HOST:PORT", err)
	case err != nil:
		return nil, err
	case !info.IsDir():
		return nil, fmt.Errorf("%s is no directory", where)
	}
	root, err := os.OpenRoot(where)
	if err != nil {
		return nil, err
	}
	files := root.FS()
	return &Site{handler: &directory{files, http.FileServerFS(files)}, root: root}, nil
}

// IsDirectory reports whether the site is a directory's.
func (s *Site) IsDirectory() bool { return s.root != nil }

// Close closes the directory. A site that is dropped without it is closed when its last
// request has ended.
func (s *Site) Close() error {
	if s.root == nil {
		return nil
	}
	return s.root.Close()
}

// parseTarget parses the URL of a server that has the site.
func parseTarget(text string) (*url.URL, error) {
	target, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, errors.New("bad URL: want a directory, or http://HOST:PORT")
	case target.Scheme != "http":
		return nil, fmt.Errorf("a site over %s is not supported: want a directory, or http://HOST:PORT", target.Scheme)
	case target.Host == "" || target.User != nil || strings.Trim(target.Path, "/") != "" || target.RawQuery != "" || target.Fragment != "":
		return nil, errors.New("want a directory, or http://HOST:PORT without a path")
	}
	if port := target.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return nil, fmt.Errorf("bad port %s: want 1 to 65535", port)
		}
	}
	target.Path = ""
	return target, nil
}

// directory serves the files below a directory, which symbolic links do not leave. There
// are no lists of files, and none whose name begins with a dot, except below .well-known.
type directory struct {
	files  fs.FS
	server http.Handler
}

func (d *directory) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		d.fail(w, r, http.StatusMethodNotAllowed)
		return
	}
	if !d.has(r.URL.Path) {
		d.fail(w, r, http.StatusNotFound)
		return
	}
	d.server.ServeHTTP(w, r)
}

// has reports whether a path is a file's, or a directory's with an index.html.
func (d *directory) has(urlPath string) bool {
	name := strings.Trim(path.Clean("/"+urlPath), "/")
	for segment := range strings.SplitSeq(name, "/") {
		if strings.HasPrefix(segment, ".") && segment != ".well-known" {
			return false
		}
	}
	if name == "" {
		name = "."
	}
	info, err := fs.Stat(d.files, name)
	if err != nil {
		return false
	}
	switch {
	case !info.IsDir() && strings.HasSuffix(urlPath, "/"):
		return false
	case info.IsDir():
		info, err = fs.Stat(d.files, path.Join(name, "index.html"))
	}
	return err == nil && info.Mode().IsRegular()
}

// fail answers with an error: that of the file 404.html if there is one.
func (d *directory) fail(w http.ResponseWriter, r *http.Request, status int) {
	if status == http.StatusNotFound {
		if page, err := fs.ReadFile(d.files, "404.html"); err == nil {
			writePage(w, r, status, page)
			return
		}
	}
	writeError(w, r, status)
}

// writePage answers with an HTML page.
func writePage(w http.ResponseWriter, r *http.Request, status int, page []byte) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(page)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		w.Write(page)
	}
}

// writeError answers with a page that has the status alone.
func writeError(w http.ResponseWriter, r *http.Request, status int) {
	text := fmt.Sprintf("%d %s", status, http.StatusText(status))
	writePage(w, r, status, []byte("<!DOCTYPE html>\n<html><head><title>"+text+"</title></head>\n<body><h1>"+text+"</h1></body></html>\n"))
}

// plainPage is the page of a site for which nothing is configured.
const plainPage = `<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Welcome</title></head>
<body>
<h1>It works!</h1>
<p>This site is under construction. Please come back later.</p>
</body>
</html>
`

// servePlain is the site for which nothing is configured: one page.
func servePlain(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		writeError(w, r, http.StatusMethodNotAllowed)
	case r.URL.Path != "/" && r.URL.Path != "/index.html":
		writeError(w, r, http.StatusNotFound)
	default:
		writePage(w, r, http.StatusOK, []byte(plainPage))
	}
}

// warnInterval limits the warnings of a site that cannot be reached.
const warnInterval = time.Minute

// newForward returns a handler that forwards requests to another server as they came, and
// its answers. The server is told of the client's address in X-Forwarded-For.
func newForward(target *url.URL, logger *slog.Logger) http.Handler {
	var warned atomic.Int64
	started := time.Now()
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			whole := *r.In.URL // Out's query lacks what package url cannot parse
			whole.Scheme, whole.Host = target.Scheme, target.Host
			r.Out.URL, r.Out.Host = &whole, r.In.Host
			r.SetXForwarded()
			if addr, ok := r.In.Context().Value(addrKey{}).(netip.Addr); ok {
				r.Out.Header.Set("X-Forwarded-For", addr.String())
				r.Out.Header.Set("X-Forwarded-Proto", "https")
			}
			if _, ok := r.In.Header["User-Agent"]; !ok {
				r.Out.Header["User-Agent"] = nil // otherwise package http adds its own
			}
		},
		Transport: &http.Transport{
			DisableCompression:  true,
			MaxIdleConnsPerHost: 64,
			IdleConnTimeout:     time.Minute,
		},
		FlushInterval: -1,
		ErrorLog:      log.New(discard{}, "", 0),
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if r.Context().Err() == nil && !wasEvicted(r) {
				now := int64(time.Since(started)) + 1
				if last := warned.Load(); (last == 0 || now-last > int64(warnInterval)) && warned.CompareAndSwap(last, now) {
					logger.Warn("the server of the web site does not answer: visitors see an error", "server", target.Host, "cause", err)
				}
			}
			writeError(w, r, http.StatusBadGateway)
		},
	}
}

// discard is for log lines of package httputil, which may have URLs.
type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }
