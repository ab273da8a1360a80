package probe

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/interop/probes/site"
	"github.com/mtwire/mtwire/interop/probes/tlswire"
	"github.com/mtwire/mtwire/mtwiretest"
)

// Key returns the key of Secret.
func Key() [16]byte { return key(eeKey) }

// key returns the 16 bytes of a key.
func key(text string) (k [16]byte) {
	hex.Decode(k[:], []byte(text))
	return k
}

// fakeHello returns a FakeTLS hello that is signed with the key at a time that
// differs from now by off.
func fakeHello(keyText, domain string, off time.Duration) (session, error) {
	return faketls.AppendClientHello(nil, &faketls.ClientConfig{
		Key: key(keyText), Domain: domain,
		Time: func() time.Time { return time.Now().Add(off) },
	})
}

// The last four bytes of the random, which have the time.
const (
	timeStart = 39
	timeEnd   = 43
)

// redate changes the time of a recorded hello from one to another, which needs no
// key: the time is not authenticated.
func redate(hello []byte, from, to time.Time) []byte {
	hello = slices.Clone(hello)
	word := binary.LittleEndian.Uint32(hello[timeStart:])
	binary.LittleEndian.PutUint32(hello[timeStart:timeEnd], word^uint32(from.Unix())^uint32(to.Unix()))
	return hello
}

// fakeTLSProbes send hellos that are signed, in the ways that a prober can have
// them: signed wrongly, or recorded from a client. "fresh" ones were recorded and
// did not reach the proxy, as when the prober is in the middle: only they are
// answered by the proxy itself.
func fakeTLSProbes() (all []Probe) {
	add := func(name string, bytes func(*Env) (session, error)) {
		all = append(all, Probe{Name: "faketls/" + name, Steps: func(e *Env) ([]Step, error) {
			b, err := bytes(e)
			return []Step{{Data: b}}, err
		}})
	}
	add("wrong-key", func(*Env) (session, error) { return fakeHello(otherKey[:30]+"00", site.Domain, 0) })
	add("old", func(*Env) (session, error) { return fakeHello(eeKey, site.Domain, -time.Hour) })
	add("future", func(*Env) (session, error) { return fakeHello(eeKey, site.Domain, time.Hour) })
	add("other-domain", func(*Env) (session, error) { return fakeHello(eeKey, "other.example", 0) })
	add("changed-bit", func(*Env) (session, error) {
		hello, err := fakeHello(eeKey, site.Domain, 0)
		if err == nil {
			hello[50] ^= 1 // in the session ID
		}
		return hello, err
	})
	add("replay", func(e *Env) (session, error) {
		recorded, err := recordSession(e, Secret)
		return recorded.hello(), err
	})
	add("replay-session", func(e *Env) (session, error) {
		return recordSession(e, Secret)
	})
	add("replay-redated", func(e *Env) (session, error) {
		now := time.Now()
		recorded, err := recordSession(e, Secret)
		if err != nil {
			return nil, err
		}
		return redate(recorded.hello(), now, now.Add(5*time.Second)), nil
	})
	add("replay-in-2-records", func(e *Env) (session, error) {
		recorded, err := recordSession(e, Secret)
		if err != nil {
			return nil, err
		}
		message := recorded.hello()[tlswire.HeaderLength:]
		return append(record(tlswire.TypeHandshake, 0x0301, string(message[:100])), record(tlswire.TypeHandshake, 0x0301, string(message[100:]))...), nil
	})
	add("replay-dd", func(e *Env) (session, error) { return recordObfuscated(e) })
	for _, a := range afterHelloBytes {
		all = append(all, Probe{Name: "faketls/fresh-" + a.name, MergeRecords: true, Steps: func(*Env) ([]Step, error) {
			hello, err := fakeHello(eeKey, site.Domain, 0)
			return []Step{{Data: hello}, {Await: true, Data: a.data, Fin: a.fin}}, err
		}})
	}
	all = append(all, Probe{Name: "faketls/fresh-megabyte", MergeRecords: true, Steps: func(*Env) ([]Step, error) {
		hello, err := fakeHello(eeKey, site.Domain, 0)
		return []Step{{Data: hello}, {Await: true, Data: bytesOf("megabyte", 1<<20)}}, err
	}})
	all = append(all, Probe{Name: "faketls/fresh-flight", Steps: func(*Env) ([]Step, error) {
		hello, err := fakeHello(eeKey, site.Domain, 0)
		return []Step{{Data: hello}, {Await: true, Pause: time.Second, Fin: true}}, err
	}})
	return all
}

// session is the bytes that a client sent.
type session []byte

// hello returns the first record.
func (s session) hello() []byte {
	if len(s) < tlswire.HeaderLength {
		return nil
	}
	return s[:min(len(s), tlswire.HeaderLength+int(binary.BigEndian.Uint16(s[3:])))]
}

const recordTimeout = 10 * time.Second

// recordSession is a client with the secret that connects to the proxy, makes a
// request and gets its answer. It returns what the client sent. If there is no
// proxy in e, the bytes are made for the site alone and not sent before.
func recordSession(e *Env, secret string) (session, error) {
	ctx, cancel := context.WithTimeout(context.Background(), recordTimeout)
	defer cancel()
	address := e.Proxy
	if address == "" {
		// A server that knows the secret takes the place of the proxy.
		parsed, err := mtwire.ParseSecret(secret)
		if err != nil {
			return nil, err
		}
		dc := mtwiretest.NewDataCenter(&mtwiretest.Config{Secrets: []mtwire.Secret{parsed}})
		defer dc.Close()
		address = dc.Addr().String()
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	ep, err := mtwire.ParseEndpoint(fmt.Sprintf("tg://proxy?server=%s&port=%s&secret=%s", host, port, secret))
	if err != nil {
		return nil, err
	}
	tap := &tapConn{Conn: conn}
	client, err := mtwire.Client(ctx, tap, ep, nil)
	if err != nil {
		return nil, fmt.Errorf("session to record: %w", err)
	}
	var nonce [16]byte
	if err := client.Send(ctx, mtwiretest.AppendReqPQ(nil, nonce, nil)); err != nil {
		return nil, fmt.Errorf("session to record: %w", err)
	}
	packet, err := client.Receive(ctx)
	if err != nil {
		return nil, fmt.Errorf("session to record: %w", err)
	}
	return tap.sent, mtwiretest.CheckResPQ(packet.Payload, nonce)
}

// recordObfuscated is recordSession with a secret of the mode that is not for
// FakeTLS. What a site answers depends on the first bytes, which are random: it
// records sessions until they are of the usual kind, no letter and no TLS.
func recordObfuscated(e *Env) (recorded session, err error) {
	secret := "dd" + otherKey
	switch e.Mode {
	case ModeEE:
		e = &Env{} // this proxy does not have the secret
	case ModeEEBare:
		secret = otherKey
	}
	for range 100 {
		recorded, err = recordSession(e, secret)
		if err != nil || recorded[0] >= 0x20 && recorded[0] < 0x40 && recorded[2] > 3 {
			break
		}
	}
	return recorded, err
}

// tapConn keeps what is written.
type tapConn struct {
	net.Conn
	sent []byte
}

func (c *tapConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.sent = append(c.sent, b[:n]...)
	return n, err
}
