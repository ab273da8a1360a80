package site

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"time"
)

// The timeouts of the sites are from 12 to 18 seconds, shorter than the defaults, so
// that a probe sees them. Those of Go and Caddy are longer than the 15 seconds
// after which these servers send TCP keep-alives.

const nginxConfig = `
daemon off;
master_process off;
user root;
pid DIR/nginx.pid;
error_log DIR/error.log;
events { worker_connections 8192; }
http {
	access_log off;
	client_header_timeout 15;
	client_body_timeout 15;
	send_timeout 15;
	keepalive_timeout 15;
	client_body_temp_path DIR/body;
	proxy_temp_path DIR/proxy;
	fastcgi_temp_path DIR/fastcgi;
	uwsgi_temp_path DIR/uwsgi;
	scgi_temp_path DIR/scgi;
	types { text/html html; }
	server {
		listen 127.0.0.1:PORT ssl http2;
		server_name example.com;
		ssl_certificate DIR/certificate.pem;
		ssl_certificate_key DIR/key.pem;
		ssl_protocols TLSv1.2 TLSv1.3;
		%s
		root DIR/www;
	}
}
`

func startNginx(ctx context.Context, s *Site) error { return nginx(ctx, s, "") }
func startNginxP384(ctx context.Context, s *Site) error {
	return nginx(ctx, s, "ssl_ecdh_curve secp384r1;")
}

func nginx(ctx context.Context, s *Site, more string) error {
	config, err := s.write("nginx.conf", fmt.Sprintf(nginxConfig, more))
	if err != nil {
		return err
	}
	return s.run(ctx, "nginx", "-p", s.dir, "-e", s.path("error.log"), "-c", config)
}

const apacheConfig = `
ServerRoot DIR
ServerName example.com
PidFile DIR/apache.pid
ErrorLog DIR/error.log
Mutex file:DIR default
User www-data
Group www-data
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule reqtimeout_module /usr/lib/apache2/modules/mod_reqtimeout.so
LoadModule ssl_module /usr/lib/apache2/modules/mod_ssl.so
LoadModule http2_module /usr/lib/apache2/modules/mod_http2.so
LoadModule mime_module /usr/lib/apache2/modules/mod_mime.so
TypesConfig /dev/null
AddType text/html .html
Listen 127.0.0.1:PORT
Protocols h2 http/1.1
StartServers 4
ServerLimit 16
ThreadLimit 64
ThreadsPerChild 64
MaxRequestWorkers 1024
Timeout 12
KeepAliveTimeout 5
RequestReadTimeout handshake=0 header=12-20,MinRate=500 body=12,MinRate=500
SSLEngine on
SSLProtocol all -SSLv3
SSLCertificateFile DIR/certificate.pem
SSLCertificateKeyFile DIR/key.pem
DocumentRoot DIR/www
`

func startApache(ctx context.Context, s *Site) error {
	config, err := s.write("apache.conf", apacheConfig)
	if err != nil {
		return err
	}
	return s.run(ctx, "apache2", "-f", config, "-D", "FOREGROUND")
}

const caddyConfig = `{
	admin off
	auto_https off
	servers {
		protocols h1 h2
		timeouts {
			read_header 18s
			idle 18s
		}
	}
}
https://example.com:PORT {
	bind 127.0.0.1
	tls DIR/certificate.pem DIR/key.pem
	root * DIR/www
	file_server
}
`

func startCaddy(ctx context.Context, s *Site) error {
	config, err := s.write("Caddyfile", caddyConfig)
	if err != nil {
		return err
	}
	return s.run(ctx, "caddy", "run", "--config", config, "--adapter", "caddyfile")
}

const haproxyConfig = `
global
	maxconn 4000
defaults
	mode http
	timeout client 12s
	timeout http-request 12s
	timeout http-keep-alive 12s
	timeout connect 2s
	timeout server 12s
frontend site
	bind 127.0.0.1:PORT ssl crt DIR/both.pem alpn h2,http/1.1
	default_backend pages
backend pages
	server pages %s
`

// startHAProxy starts HAProxy, and an HTTP server behind it.
func startHAProxy(ctx context.Context, s *Site) error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	pages := &http.Server{Handler: http.FileServer(http.Dir(s.www()))}
	go pages.Serve(ln)
	s.stops = append(s.stops, func() { pages.Close() })
	config, err := s.write("haproxy.cfg", fmt.Sprintf(haproxyConfig, ln.Addr()))
	if err != nil {
		return err
	}
	return s.run(ctx, "haproxy", "-db", "-f", config)
}

// GoCommand is the argument with which the program that starts a Go site calls
// itself; ServeGo serves it.
const GoCommand = "go-site"

// startGo starts the site as a process of its own, so that the load of the probes
// does not slow it.
func startGo(ctx context.Context, s *Site) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return s.run(ctx, self, GoCommand, s.Address, s.dir)
}

// ServeGo serves pages with package net/http at the address until it fails. dir has
// the files of a Site.
func ServeGo(address, dir string) error {
	s := &Site{dir: dir}
	server := &http.Server{
		Addr:              address,
		Handler:           http.FileServer(http.Dir(s.www())),
		ReadHeaderTimeout: 18 * time.Second,
		IdleTimeout:       18 * time.Second,
	}
	return server.ListenAndServeTLS(s.path("certificate.pem"), s.path("key.pem"))
}

// startOpenSSL starts openssl s_server, which has no timeouts.
func startOpenSSL(ctx context.Context, s *Site) error {
	return s.run(ctx, "openssl", "s_server", "-accept", s.Address, "-WWW",
		"-cert", s.path("certificate.pem"), "-key", s.path("key.pem"))
}

func startRustls(ctx context.Context, s *Site) error {
	if s.rustls == "" {
		return fmt.Errorf("the rustls server is not built: %w", exec.ErrNotFound)
	}
	return s.run(ctx, s.rustls, s.Address, s.dir)
}
