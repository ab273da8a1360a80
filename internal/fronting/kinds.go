package fronting

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/internal/netx"
)

// A host's answer depends on the client's hello: its cipher suite and key share
// are among those that the client offers, and its length depends on the client's
// extensions. So the host is measured with one hello of each kind that clients
// send. The kind of the probes' own hello, a browser's, is measured with complete
// handshakes. The others are measured with a hello that is made from a client's;
// that the handshake cannot be completed does not matter, because the flight is
// over before.

const (
	// maxKinds is how many kinds a host has. The one that was unused for longest
	// makes room. It is also how many kinds may be added between two rounds, so
	// that a client with a secret cannot have the host flooded.
	maxKinds = 32

	// maxTemplate is the length of the longest hello that is measured.
	maxTemplate = 4096

	// kindLifetime is how long an unused kind is measured.
	kindLifetime = 7 * 24 * time.Hour

	// sizeSpread is how much the lengths of a host's answers to hellos of one kind
	// may differ: an ECDSA signature has 70 to 72 bytes.
	sizeSpread = 8
)

// errRetry is the predicate of host.unusable's message. FakeTLS clients accept
// only a ServerHello as the first message.
var errRetry = errors.New("asks FakeTLS clients for another key share (HelloRetryRequest), which they do not send; enable X25519 there or choose another site")

// kind is how a host answers one kind of ClientHello. host.mu guards its fields.
type kind struct {
	key     faketls.Kind
	hello   []byte   // made from a client's; nil for the browser's
	answers []answer // the last measurements
	tried   bool     // it was measured, or that failed
	used    time.Time
}

// ServerHello returns the shape in which the answer to hello matches the host's own
// answer: size, cipher suite, key share and order of extensions. It is drawn at
// random from the last measurements with hellos of that kind. When a kind is new,
// Run measures it soon; until then it is answered as the nearest kind that was
// measured. The shape is zero if the host was not measured yet, or does not support
// TLS 1.3. If hello names an unknown domain, the host is the first one.
//
// ServerHello returns an error if the host would answer with a HelloRetryRequest:
// FakeTLS clients do not support that, so that any answer but the host's own would
// give the proxy away. The client should then be tunneled.
//
// hello must be authenticated, because a new kind causes a connection to the host.
// It is not used after ServerHello returns.
func (p *Pool) ServerHello(hello *faketls.ClientHello) (faketls.ServerHelloShape, error) {
	h := p.choose(hello.SNI)
	if h == nil {
		return faketls.ServerHelloShape{}, nil
	}
	key := hello.Kind()
	a, isNew := h.answerTo(key)
	if isNew {
		h.addKind(key, hello)
	}
	if a.retry {
		return faketls.ServerHelloShape{}, p.refuseHello(h)
	}
	return a.shape, nil
}

// answerTo returns an answer to hellos of that kind, or of the nearest one, and
// reports whether the kind is to be added. The answer is zero if there is none.
func (h *host) answerTo(key faketls.Kind) (a answer, isNew bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.browser == nil {
		return answer{}, false
	}
	k := h.kinds[key]
	if k != nil {
		k.used = time.Now()
	}
	isNew = k == nil && h.newKinds < maxKinds && h.browser.answers[0].tls13
	if k == nil || len(k.answers) == 0 {
		k = h.nearest(key)
	}
	return k.draw(), isNew
}

// nearest returns the kind that is most like key among those with answers. Under
// mu, with a browser kind.
func (h *host) nearest(key faketls.Kind) *kind {
	best := h.browser
	least := best.key.Distance(key)
	for _, k := range h.kinds {
		if distance := k.key.Distance(key); len(k.answers) > 0 && distance < least {
			best, least = k, distance
		}
	}
	return best
}

// draw returns one of the answers. An answer without a HelloRetryRequest is
// preferred: the address may lead to several servers.
func (k *kind) draw() answer {
	start := rand.IntN(len(k.answers))
	for i := range k.answers {
		if a := k.answers[(start+i)%len(k.answers)]; !a.retry {
			return a
		}
	}
	return k.answers[start]
}

// addKind adds a kind, with a hello like hello, to be measured by Run.
func (h *host) addKind(key faketls.Kind, hello *faketls.ClientHello) {
	renewed, err := hello.Renew(h.Domain)
	if err != nil || len(renewed) > maxTemplate {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.kinds[key] != nil || h.newKinds >= maxKinds {
		return
	}
	if len(h.kinds) >= maxKinds {
		h.removeOldestKind()
	}
	h.newKinds++
	h.kinds[key] = &kind{key: key, hello: renewed, used: time.Now()}
	select {
	case h.newKind <- struct{}{}:
	default:
	}
}

// removeOldestKind removes the kind that was unused for longest. Under mu.
func (h *host) removeOldestKind() {
	var oldest *kind
	for _, k := range h.kinds {
		if k != h.browser && (oldest == nil || k.used.Before(oldest.used)) {
			oldest = k
		}
	}
	delete(h.kinds, oldest.key)
}

// setBrowser replaces the answers to the browser's hello, which is of that kind.
func (h *host) setBrowser(key faketls.Kind, answers []answer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.browser != nil && h.browser.key != key {
		delete(h.kinds, h.browser.key)
	}
	h.browser = &kind{key: key, answers: answers, tried: true}
	h.kinds[key] = h.browser
}

// measureKinds measures the kinds of clients' hellos one after the other: all of
// them, or the new ones only.
func (p *Pool) measureKinds(ctx context.Context, h *host, onlyNew bool) {
	for _, k := range h.kindsToMeasure(onlyNew) {
		if !sleep(ctx, jitter(probeInterval)) {
			return
		}
		p.measureKind(ctx, h, k)
	}
}

// kindsToMeasure forgets the kinds that clients do not send any more, and returns
// the others, or the new ones among them. It ends the count of new ones if it
// returns all.
func (h *host) kindsToMeasure(onlyNew bool) (kinds []*kind) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !onlyNew {
		h.newKinds = 0
	}
	for key, k := range h.kinds {
		switch {
		case k == h.browser || onlyNew && k.tried:
		case time.Since(k.used) > kindLifetime:
			delete(h.kinds, key)
		default:
			kinds = append(kinds, k)
		}
	}
	return kinds
}

func (p *Pool) measureKind(ctx context.Context, h *host, k *kind) {
	template, _, err := faketls.ParseClientHello(k.hello)
	if err != nil {
		return
	}
	hello, err := template.Renew(h.Domain)
	if err != nil {
		return
	}
	h.mu.Lock()
	pr := h.addProbe()
	pr.ofClient = true
	h.mu.Unlock()
	a, err := p.exchange(ctx, h, pr, hello)
	if ctx.Err() != nil || netx.IsLocal(err) { // which tells nothing: it is measured with the next new one
		return
	}
	h.mu.Lock()
	isNew := !k.tried
	k.tried = true
	if err == nil {
		k.add(a)
	}
	h.mu.Unlock()
	switch {
	case err == nil:
		p.config.Log.Debug("fronting host measured with a client's hello", "domain", h.Domain,
			"size", a.shape.DataSize, "cipher_suite", fmt.Sprintf("%04x", a.shape.CipherSuite), "group", fmt.Sprintf("%04x", a.shape.Group))
	case errors.Is(err, errNoServerHello) && isNew:
		p.config.Log.Warn("fronting host rejects the ClientHello of some FakeTLS clients, which the proxy answers: the difference can be detected. Choose another site",
			"domain", h.Domain, "server_name", template.SNI != "")
	default:
		p.config.Log.Debug("fronting host could not be measured with a client's hello", "domain", h.Domain, "error", err)
	}
}

// add adds a measurement. Those before are kept if the host has not changed. Under
// mu.
func (k *kind) add(a answer) {
	same := func(b answer) bool {
		difference := a.shape.DataSize - b.shape.DataSize
		b.shape.DataSize, b.records = a.shape.DataSize, a.records
		return a == b && max(difference, -difference) <= sizeSpread
	}
	if n := len(k.answers); n > 0 && !same(k.answers[n-1]) {
		k.answers = nil
	}
	k.answers = append(k.answers[max(0, len(k.answers)-probesPerRound+1):], a)
}

// refuseHello returns the error for a hello that h answers with a
// HelloRetryRequest, and warns.
func (p *Pool) refuseHello(h *host) error {
	err := h.unusable(errRetry)
	h.warn(p.config.Log, &h.refused, "FakeTLS clients are not served, and are tunneled to the fronting host", "error", err)
	return err
}

// warning is when one of a kind was logged last, and how often it was not since.
type warning struct {
	last     time.Time
	unlogged int
}

// warn logs a warning of the kind w of h, if the last one is warnInterval ago, with the
// number of those since. Otherwise it logs at level Debug.
func (h *host) warn(log *slog.Logger, w *warning, message string, args ...any) {
	h.mu.Lock()
	level := slog.LevelDebug
	if time.Since(w.last) >= warnInterval {
		level = slog.LevelWarn
		if w.unlogged > 0 {
			args = append(args, "unlogged_before", w.unlogged)
		}
		*w = warning{last: time.Now()}
	} else {
		w.unlogged++
	}
	h.mu.Unlock()
	log.Log(context.Background(), level, message, args...)
}
