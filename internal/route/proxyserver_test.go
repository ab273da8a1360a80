package route

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

// proxyServer is a SOCKS5 or HTTP proxy on loopback. It resolves one name, dc.test,
// and requires authentication if credentials are set.
type proxyServer struct {
	credentials string      // user:password
	dcTest      string      // the address of dc.test:443
	requested   chan string // addresses
}

func (p *proxyServer) resolve(address string) string {
	p.requested <- address
	if address == "dc.test:443" {
		return p.dcTest
	}
	return address
}

// socks5 serves one SOCKS5 client.
//
// Specification: https://www.rfc-editor.org/rfc/rfc1928 and
// https://www.rfc-editor.org/rfc/rfc1929
func (p *proxyServer) socks5(conn net.Conn) error {
	b := make([]byte, 300)
	read := func(n int) []byte { io.ReadFull(conn, b[:n]); return b[:n] }
	methods := slices.Clone(read(int(read(2)[1])))
	method := byte(0)
	if p.credentials != "" {
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
		if user+":"+password != p.credentials {
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

// http serves one CONNECT request.
func (p *proxyServer) http(conn net.Conn) error {
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
	if p.credentials != "" && user+":"+password != p.credentials {
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
