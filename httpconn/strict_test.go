package httpconn

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// acceptance is which of two servers accept a request: a Server, and an http.Server.
type acceptance uint8

const (
	both     acceptance = iota
	neither             // a Server must not accept what an http.Server refuses
	onlyHTTP            // a Server is stricter: two parsers may read the request differently
	onlyOurs            // a request without Host, which clients send
)

// requests are requests with a body of 12 bytes, or what is meant to be one.
var requests = map[string]struct {
	acceptance
	request string
}{
	"plain":                             {both, "POST /api HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\n\r\nHello MTProt"},
	"empty Host":                        {both, "POST /api HTTP/1.1\r\nHost: \r\nContent-Length: 12\r\n\r\nHello MTProt"},
	"no Host":                           {onlyOurs, "POST /api HTTP/1.1\r\nContent-Length: 12\r\n\r\nHello MTProt"},
	"two Hosts":                         {neither, "POST /api HTTP/1.1\r\nHost: x\r\nHost: x\r\nContent-Length: 12\r\n\r\nHello MTProt"},
	"bad Host":                          {neither, "POST /api HTTP/1.1\r\nHost: a/b\r\nContent-Length: 12\r\n\r\nHello MTProt"},
	"bad Host beside a URL":             {neither, "POST http://x/api HTTP/1.1\r\nHost: a b\r\nContent-Length: 12\r\n\r\nHello MTProt"},
	"chunked":                           {both, "POST /api HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nc\r\nHello MTProt\r\n0\r\n\r\n"},
	"length and chunked":                {onlyHTTP, "POST /api HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\nTransfer-Encoding: chunked\r\n\r\nc\r\nHello MTProt\r\n0\r\n\r\n"},
	"chunked and length":                {onlyHTTP, "POST /api HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 12\r\n\r\nc\r\nHello MTProt\r\n0\r\n\r\n"},
	"length and chunked, HTTP/1.0":      {onlyHTTP, "POST /api HTTP/1.0\r\nHost: x\r\nContent-Length: 12\r\nTransfer-Encoding: chunked\r\n\r\nHello MTProt"},
	"length and identity":               {neither, "POST /api HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\nTransfer-Encoding: identity\r\n\r\nHello MTProt"},
	"space after Transfer-Encoding":     {neither, "POST /api HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\nContent-Length: 12\r\n\r\nHello MTProt"},
	"tab after Transfer-Encoding":       {neither, "POST /api HTTP/1.1\r\nHost: x\r\nTransfer-Encoding\t: chunked\r\nContent-Length: 12\r\n\r\nHello MTProt"},
	"space after Content-Length":        {neither, "POST /api HTTP/1.1\r\nHost: x\r\nContent-Length : 4\r\nContent-Length: 12\r\n\r\nHello MTProt"},
	"space in a name":                   {neither, "POST /api HTTP/1.1\r\nHost: x\r\nA B: c\r\nContent-Length: 12\r\n\r\nHello MTProt"},
	"no name":                           {neither, "POST /api HTTP/1.1\r\nHost: x\r\n: c\r\nContent-Length: 12\r\n\r\nHello MTProt"},
	"no colon":                          {neither, "POST /api HTTP/1.1\r\nHost: x\r\nABC\r\nContent-Length: 12\r\n\r\nHello MTProt"},
	"bad character in a name":           {neither, "POST /api HTTP/1.1\r\nHost: x\r\nA\x00B: c\r\nContent-Length: 12\r\n\r\nHello MTProt"},
	"bracket in a name":                 {neither, "POST /api HTTP/1.1\r\nHost: x\r\nA(B: c\r\nContent-Length: 12\r\n\r\nHello MTProt"},
	"Latin letter in a name":            {neither, "POST /api HTTP/1.1\r\nHost: x\r\nA\xe9B: c\r\nContent-Length: 12\r\n\r\nHello MTProt"},
	"underscore in a name":              {both, "POST /api HTTP/1.1\r\nHost: x\r\nContent_Length: 4\r\nContent-Length: 12\r\n\r\nHello MTProt"},
	"NUL in a value":                    {neither, "POST /api HTTP/1.1\r\nHost: x\r\nA: b\x00c\r\nContent-Length: 12\r\n\r\nHello MTProt"},
	"control character in a value":      {neither, "POST /api HTTP/1.1\r\nHost: x\r\nA: b\x7fc\r\nContent-Length: 12\r\n\r\nHello MTProt"},
	"vertical tab before chunked":       {neither, "POST /api HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: \x0bchunked\r\n\r\nc\r\nHello MTProt\r\n0\r\n\r\n"},
	"Latin letter in a value":           {both, "POST /api HTTP/1.1\r\nHost: x\r\nA: b\xe9c\r\nContent-Length: 12\r\n\r\nHello MTProt"},
	"tab in a value":                    {both, "POST /api HTTP/1.1\r\nHost: x\r\nA: b\tc\r\nContent-Length: 12\r\n\r\nHello MTProt"},
	"CR in a value":                     {neither, "POST /api HTTP/1.1\r\nHost: x\r\nA: b\rContent-Length: 4\r\nContent-Length: 12\r\n\r\nHello MTProt"},
	"two CRs":                           {neither, "POST /api HTTP/1.1\r\nHost: x\r\nA: b\r\r\nContent-Length: 12\r\n\r\nHello MTProt"},
	"bare LF":                           {onlyHTTP, "POST /api HTTP/1.1\nHost: x\nContent-Length: 12\n\nHello MTProt"},
	"bare LF after the request line":    {onlyHTTP, "POST /api HTTP/1.1\nHost: x\r\nContent-Length: 12\r\n\r\nHello MTProt"},
	"bare LF after a header":            {onlyHTTP, "POST /api HTTP/1.1\r\nHost: x\r\nA: b\nContent-Length: 12\r\n\r\nHello MTProt"},
	"bare LF after the head":            {onlyHTTP, "POST /api HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\n\nHello MTProt"},
	"folded line":                       {onlyHTTP, "POST /api HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\nContent-Length: 12\r\n\r\nHello MTProt"},
	"folded line, tab":                  {onlyHTTP, "POST /api HTTP/1.1\r\nHost: x\r\nA: b\r\n\tContent-Length: 4\r\nContent-Length: 12\r\n\r\nHello MTProt"},
	"folded length":                     {onlyHTTP, "POST /api HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n 12\r\n\r\nHello MTProt"},
	"folded Transfer-Encoding":          {onlyHTTP, "POST /api HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\r\n chunked\r\n\r\nc\r\nHello MTProt\r\n0\r\n\r\n"},
	"folded first line":                 {neither, "POST /api HTTP/1.1\r\n Host: x\r\nContent-Length: 12\r\n\r\nHello MTProt"},
	"the same length twice":             {both, "POST /api HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\nContent-Length: 12\r\n\r\nHello MTProt"},
	"two lengths":                       {neither, "POST /api HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\nContent-Length: 8\r\n\r\nHello MTProt"},
	"two lengths in a line":             {neither, "POST /api HTTP/1.1\r\nHost: x\r\nContent-Length: 12, 12\r\n\r\nHello MTProt"},
	"length with a sign":                {neither, "POST /api HTTP/1.1\r\nHost: x\r\nContent-Length: +12\r\n\r\nHello MTProt"},
	"negative length":                   {neither, "POST /api HTTP/1.1\r\nHost: x\r\nContent-Length: -12\r\n\r\nHello MTProt"},
	"hexadecimal length":                {neither, "POST /api HTTP/1.1\r\nHost: x\r\nContent-Length: 0xc\r\n\r\nHello MTProt"},
	"length with an underscore":         {neither, "POST /api HTTP/1.1\r\nHost: x\r\nContent-Length: 1_2\r\n\r\nHello MTProt"},
	"length with a fraction":            {neither, "POST /api HTTP/1.1\r\nHost: x\r\nContent-Length: 12.0\r\n\r\nHello MTProt"},
	"length with a word":                {neither, "POST /api HTTP/1.1\r\nHost: x\r\nContent-Length: 12 b\r\n\r\nHello MTProt"},
	"empty length":                      {neither, "POST /api HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n\r\nHello MTProt"},
	"length of other digits":            {neither, "POST /api HTTP/1.1\r\nHost: x\r\nContent-Length: \xd9\xa1\xd9\xa2\r\n\r\nHello MTProt"},
	"length over 64 bits":               {neither, "POST /api HTTP/1.1\r\nHost: x\r\nContent-Length: 18446744073709551628\r\n\r\nHello MTProt"},
	"length with leading zeros":         {both, "POST /api HTTP/1.1\r\nHost: x\r\nContent-Length: 0012\r\n\r\nHello MTProt"},
	"length with white space":           {both, "POST /api HTTP/1.1\r\nHost: x\r\nContent-Length: \t 12 \t\r\n\r\nHello MTProt"},
	"chunked, in capitals":              {both, "POST /api HTTP/1.1\r\nHost: x\r\nTRANSFER-ENCODING: Chunked\r\n\r\nc\r\nHello MTProt\r\n0\r\n\r\n"},
	"chunked twice":                     {neither, "POST /api HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, chunked\r\n\r\nc\r\nHello MTProt\r\n0\r\n\r\n"},
	"chunked twice, two lines":          {neither, "POST /api HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\nc\r\nHello MTProt\r\n0\r\n\r\n"},
	"another encoding":                  {neither, "POST /api HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\nc\r\nHello MTProt\r\n0\r\n\r\n"},
	"an unknown encoding":               {neither, "POST /api HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\nc\r\nHello MTProt\r\n0\r\n\r\n"},
	"empty encoding":                    {neither, "POST /api HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\r\n\r\nHello MTProt"},
	"chunk extension":                   {both, "POST /api HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nc;a=\"b\"\r\nHello MTProt\r\n0\r\n\r\n"},
	"long chunk extension":              {neither, "POST /api HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nc;" + strings.Repeat("a", 5000) + "\r\nHello MTProt\r\n0\r\n\r\n"},
	"bare LF in a chunk extension":      {neither, "POST /api HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nc;a\nHello MTProt\r\n0\r\n\r\n"},
	"bare LF after a chunk size":        {neither, "POST /api HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nc\nHello MTProt\r\n0\r\n\r\n"},
	"bare LF after a chunk":             {neither, "POST /api HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nc\r\nHello MTProt\n0\r\n\r\n"},
	"bytes after a chunk":               {neither, "POST /api HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nb\r\nHello MTProt\r\n0\r\n\r\n"},
	"chunk size with white space":       {both, "POST /api HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nc \r\nHello MTProt\r\n0\r\n\r\n"},
	"white space before a chunk size":   {neither, "POST /api HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n c\r\nHello MTProt\r\n0\r\n\r\n"},
	"chunk size with a sign":            {neither, "POST /api HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n+c\r\nHello MTProt\r\n0\r\n\r\n"},
	"chunk size with a prefix":          {neither, "POST /api HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0xc\r\nHello MTProt\r\n0\r\n\r\n"},
	"chunk size over 64 bits":           {neither, "POST /api HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1000000000000000c\r\nHello MTProt\r\n0\r\n\r\n"},
	"chunk size of 64 bits":             {neither, "POST /api HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nHello MTProt\r\n0\r\n\r\n"},
	"chunk size with leading zeros":     {both, "POST /api HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n00000c\r\nHello MTProt\r\n0\r\n\r\n"},
	"no chunk size":                     {neither, "POST /api HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n\r\nHello MTProt\r\n0\r\n\r\n"},
	"no last chunk":                     {neither, "POST /api HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nc\r\nHello MTProt\r\n"},
	"trailer":                           {onlyHTTP, "POST /api HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nc\r\nHello MTProt\r\n0\r\nA: b\r\n\r\n"},
	"trailer with bare LF":              {onlyHTTP, "POST /api HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nc\r\nHello MTProt\r\n0\r\nA: b\nC: d\r\n\r\n"},
	"announced trailer":                 {onlyHTTP, "POST /api HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTrailer: A\r\n\r\nc\r\nHello MTProt\r\n0\r\nA: b\r\n\r\n"},
	"trailer that sets the length":      {neither, "POST /api HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTrailer: Content-Length\r\n\r\nc\r\nHello MTProt\r\n0\r\nContent-Length: 4\r\n\r\n"},
	"HTTP/1.0":                          {both, "POST /api HTTP/1.0\r\nHost: x\r\nContent-Length: 12\r\n\r\nHello MTProt"},
	"HTTP/1.2":                          {both, "POST /api HTTP/1.2\r\nHost: x\r\nContent-Length: 12\r\n\r\nHello MTProt"},
	"HTTP/2.0":                          {neither, "POST /api HTTP/2.0\r\nHost: x\r\nContent-Length: 12\r\n\r\nHello MTProt"},
	"HTTP/0.9":                          {neither, "POST /api HTTP/0.9\r\nHost: x\r\nContent-Length: 12\r\n\r\nHello MTProt"},
	"HTTP/1.10":                         {neither, "POST /api HTTP/1.10\r\nHost: x\r\nContent-Length: 12\r\n\r\nHello MTProt"},
	"HTTP/1":                            {neither, "POST /api HTTP/1\r\nHost: x\r\nContent-Length: 12\r\n\r\nHello MTProt"},
	"http/1.1 in small letters":         {neither, "POST /api http/1.1\r\nHost: x\r\nContent-Length: 12\r\n\r\nHello MTProt"},
	"no version":                        {neither, "POST /api\r\nHost: x\r\nContent-Length: 12\r\n\r\nHello MTProt"},
	"two spaces before the path":        {neither, "POST  /api HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\n\r\nHello MTProt"},
	"two spaces before the version":     {neither, "POST /api  HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\n\r\nHello MTProt"},
	"space after the version":           {neither, "POST /api HTTP/1.1 \r\nHost: x\r\nContent-Length: 12\r\n\r\nHello MTProt"},
	"tab before the path":               {neither, "POST\t/api HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\n\r\nHello MTProt"},
	"space before the method":           {neither, " POST /api HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\n\r\nHello MTProt"},
	"CR in the request line":            {neither, "POST /api\r HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\n\r\nHello MTProt"},
	"control character in the path":     {neither, "POST /a\x01pi HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\n\r\nHello MTProt"},
	"bad escape in the path":            {neither, "POST /api?%zz%2 HTTP/1.1\r\nHost: x y\r\nContent-Length: 12\r\n\r\nHello MTProt"},
	"method with a bad character":       {neither, "PO(ST /api HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\n\r\nHello MTProt"},
	"relative path":                     {neither, "POST api HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\n\r\nHello MTProt"},
	"an empty line before the request":  {neither, "\r\nPOST /api HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\n\r\nHello MTProt"},
	"less than the length":              {neither, "POST /api HTTP/1.1\r\nHost: x\r\nContent-Length: 16\r\n\r\nHello MTProt"},
	"a head without an end":             {neither, "POST /api HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\n"},
	"a head of more than the limit":     {onlyHTTP, "POST /api HTTP/1.1\r\nHost: x\r\nA: " + strings.Repeat("b", maxHead) + "\r\nContent-Length: 12\r\n\r\nHello MTProt"},
	"a method that is not served":       {onlyHTTP, "PUT /api HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\n\r\nHello MTProt"},
	"an expectation":                    {both, "POST /api HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 12\r\n\r\nHello MTProt"},
	"an unknown expectation":            {neither, "POST /api HTTP/1.1\r\nHost: x\r\nExpect: 200-ok\r\nContent-Length: 12\r\n\r\nHello MTProt"},
	"an upgrade to HTTP/2, beside that": {both, "POST /api HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nContent-Length: 12\r\n\r\nHello MTProt"},
}

// A Server refuses every request that an http.Server refuses, except for one
// without Host, and those that two parsers may read differently. What both accept
// has the same body.
func TestServerRefusesWhatNetHTTPRefuses(t *testing.T) {
	for name, c := range requests {
		ours, theirs := bodies(t, c.request), httpBodies(t, c.request)
		want := map[acceptance][2]int{both: {1, 1}, neither: {0, 0}, onlyHTTP: {0, 1}, onlyOurs: {1, 0}}[c.acceptance]
		if len(ours) != want[0] || len(theirs) != want[1] {
			t.Errorf("%s: accepted %d times, by net/http %d times, want %v", name, len(ours), len(theirs), want)
		}
		if c.acceptance == both && !slices.Equal(ours, theirs) {
			t.Errorf("%s: %q, net/http has %q", name, ours, theirs)
		}
	}
}

// A refused request ends the connection: what follows it, which a reverse proxy may
// have taken for its body, is not read as a request.
func TestNothingIsReadAfterARefusedRequest(t *testing.T) {
	for name, c := range requests {
		if c.acceptance == both || c.acceptance == onlyOurs {
			continue
		}
		switch name {
		case "less than the length", "a head without an end", "no last chunk":
			continue // what follows is a part of it
		}
		if got := bodies(t, c.request+post("smuggled")); len(got) > 0 {
			t.Errorf("%s: then %q", name, got)
		}
	}
}

// bodies returns the bodies that a Server accepts from a client that sends data and
// nothing more.
func bodies(t *testing.T, data string) (all []string) {
	s := NewServer(&recordedConn{strings.NewReader(data)}, &ServerConfig{MaxLength: 1 << 16})
	for {
		packet, err := s.Receive(t.Context())
		if err != nil {
			var refused *RequestError
			if err != io.EOF && err != io.ErrUnexpectedEOF && !errors.As(err, &refused) {
				t.Errorf("%q: %v", data, err)
			}
			return all
		}
		all = append(all, string(packet))
		if err := s.Send(t.Context(), packet); err != nil {
			t.Fatal(err)
		}
	}
}

// httpBodies is bodies with an http.Server.
func httpBodies(t *testing.T, data string) (all []string) {
	client, conn := net.Pipe()
	client.SetDeadline(time.Now().Add(30 * time.Second))
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		all = append(all, string(body))
	})}
	ended := make(chan struct{})
	server.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed {
			close(ended)
		}
	}
	go server.Serve(&oneConn{conn: &endingConn{Conn: conn, data: strings.NewReader(data)}})
	io.Copy(io.Discard, bufio.NewReader(client))
	<-ended
	server.Close()
	return all
}

// endingConn is a connection whose peer has sent data and then half-closed.
type endingConn struct {
	net.Conn
	data io.Reader
}

func (c *endingConn) Read(b []byte) (int, error) { return c.data.Read(b) }

// oneConn is a listener that accepts one connection.
type oneConn struct {
	conn net.Conn
	once sync.Once
}

func (l *oneConn) Accept() (conn net.Conn, err error) {
	err = net.ErrClosed
	l.once.Do(func() { conn, err = l.conn, nil })
	return conn, err
}

func (l *oneConn) Close() error   { return nil }
func (l *oneConn) Addr() net.Addr { return l.conn.LocalAddr() }

// FuzzServerAgreesWithNetHTTP checks that a Server accepts no request that an
// http.Server refuses, and that it finds the same bodies in the same places. The
// first request has a Host. The Server may accept later ones without.
func FuzzServerAgreesWithNetHTTP(f *testing.F) {
	const begin = "POST /api HTTP/1.1\r\nHost: x\r\n"
	for _, c := range requests {
		if rest, ok := strings.CutPrefix(c.request, begin); ok {
			f.Add(rest)
			f.Add(rest + c.request)
		}
	}
	f.Fuzz(func(t *testing.T, rest string) {
		ours := bodies(t, begin+rest)
		if len(ours) == 0 {
			return
		}
		theirs := httpBodies(t, begin+rest)
		common := min(len(ours), len(theirs))
		if common == 0 || !slices.Equal(ours[:common], theirs[:common]) {
			t.Errorf("%q: %q, net/http has %q", rest, ours, theirs)
		}
	})
}
