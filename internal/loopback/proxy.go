package loopback

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
)

// Proxy is a SOCKS5 or HTTP proxy, for tests of clients of one.
type Proxy struct {
	Credentials string            // user:password; empty means that none are asked for
	Hosts       map[string]string // what it dials for a requested address, if not that
	Requested   chan string       // gets every requested address, unless it is nil
}

func (p *Proxy) resolve(address string) string {
	if p.Requested != nil {
		p.Requested <- address
	}
	if host, ok := p.Hosts[address]; ok {
		return host
	}
	return address
}

// SOCKS5 serves one SOCKS5 client.
//
// Specification: https://www.rfc-editor.org/rfc/rfc1928 and
// https://www.rfc-editor.org/rfc/rfc1929
func (p *Proxy) SOCKS5(conn net.Conn) error {
	b := make([]byte, 300)
	read := func(n int) []byte { io.ReadFull(conn, b[:n]); return b[:n] }
	methods := slices.Clone(read(int(read(2)[1])))
	method := byte(0)
	if p.Credentials != "" {
		method = 2
	}
	if !slices.Contains(methods, method) {
		conn.Write([]byte{5, 0xff})
		return errors.New("no acceptable method")
	}
	conn.Write([]byte{5, method})
	if method == 2 {
		user := string(read(int(read(2)[1])))
		password := string(read(int(read(1)[0])))
		if user+":"+password != p.Credentials {
			conn.Write([]byte{1, 1})
			return errors.New("wrong credentials")
		}
		conn.Write([]byte{1, 0})
	}
	var host string
	switch read(4)[3] {
	case 1:
		host = net.IP(read(4)).String()
	case 3:
		host = string(read(int(read(1)[0])))
	case 4:
		host = net.IP(read(16)).String()
	}
	port := read(2)
	address := net.JoinHostPort(host, strconv.Itoa(int(port[0])<<8|int(port[1])))
	return forward(conn, p.resolve(address),
		"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x01", "\x05\x05\x00\x01\x00\x00\x00\x00\x00\x00")
}

// HTTP serves one CONNECT request.
func (p *Proxy) HTTP(conn net.Conn) error {
	r := bufio.NewReader(conn)
	request, err := http.ReadRequest(r)
	if err != nil {
		return err
	}
	if request.Method != "CONNECT" || request.UserAgent() != "" || request.Host != request.RequestURI {
		return fmt.Errorf("%s %s", request.Method, request.RequestURI)
	}
	request.Header.Set("Authorization", request.Header.Get("Proxy-Authorization"))
	user, password, _ := request.BasicAuth()
	if p.Credentials != "" && user+":"+password != p.Credentials {
		_, err = io.WriteString(conn, "HTTP/1.1 407 Who are you, "+user+"?\r\nContent-Length: 0\r\n\r\n")
		return err
	}
	return forward(conn, p.resolve(request.RequestURI),
		"HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n", "HTTP/1.1 502 Sorry\r\nContent-Length: 4\r\n\r\nSorry")
}

// forward sends client one of the two responses and copies both ways to address.
func forward(client net.Conn, address string, accepted, refused string) error {
	server, err := net.Dial("tcp", address)
	if err != nil {
		io.WriteString(client, refused)
		return err
	}
	defer server.Close()
	if _, err := io.WriteString(client, accepted); err != nil {
		return err
	}
	go func() {
		io.Copy(server, client)
		server.(*net.TCPConn).CloseWrite()
	}()
	_, err = io.Copy(client, server)
	return err
}
