package service

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"

	"github.com/mtwire/mtwire/internal/netx"
)

// Serving the web site: its streams, its certificate, and its listeners, which come and go.

// webServing is a website that is served.
type webServing struct {
	ctx, renewing context.Context    // renewing ends earlier, when another process renews the certificate
	leave         context.CancelFunc // ends renewing
	running       sync.WaitGroup
	failed        chan error              // gets the first error of a listener
	accepters     []*netx.WatchedListener // that are served; under website.mu
}

// run serves the site, and its streams through serve, until the caller calls stop. If a listener
// fails, failed gets its error.
func (w *website) run(serve func(context.Context, net.Listener) error) (failed <-chan error, stop func()) {
	s := &webServing{failed: make(chan error, 1)}
	var cancel context.CancelFunc
	s.ctx, cancel = context.WithCancel(context.Background())
	s.renewing, s.leave = context.WithCancel(s.ctx)
	w.server.Start()
	w.mu.Lock()
	w.serve = s
	for _, l := range w.listeners {
		w.start(l)
	}
	w.startLocal()
	w.runCertificate()
	w.mu.Unlock()
	s.running.Go(func() { serve(s.ctx, w.server.Streams()) })
	return s.failed, func() {
		cancel()
		w.close()
		s.running.Wait()
	}
}

// start serves l. Under mu, when the site is served.
func (w *website) start(l *listener) {
	l.stop = func() { l.Close() }
	w.accept(l, w.server.ServePlain)
}

// accept serves l until it is closed, and notes when it fails before. Under mu.
func (w *website) accept(l *listener, serve func(net.Listener) error) {
	s, watched := w.serve, netx.Watch(l.Listener)
	s.accepters = append(s.accepters, watched)
	s.running.Go(func() {
		err := serve(watched)
		watched.End()
		w.mu.Lock()
		defer w.mu.Unlock()
		s.accepters = slices.DeleteFunc(s.accepters, func(other *netx.WatchedListener) bool { return other == watched })
		if w.ended || l.removed || errors.Is(err, net.ErrClosed) {
			return
		}
		select {
		case s.failed <- fmt.Errorf("the web site at %v: %w", l.Addr(), netx.Readable(err)):
		default:
		}
	})
}

// responds returns nil when all accept loops of the site have shown that they run, and the cause
// of ctx's end if that is before.
func (w *website) responds(ctx context.Context) error {
	w.mu.Lock()
	var accepters []*netx.WatchedListener
	if w.serve != nil {
		accepters = slices.Clone(w.serve.accepters)
	}
	w.mu.Unlock()
	for _, ln := range accepters {
		if err := ln.Responds(ctx); err != nil {
			return fmt.Errorf("the web site: connections to %v are not accepted: %w", ln.Addr(), err)
		}
	}
	return nil
}

// startLocal serves the site as a fronting host. Under mu, when the site is served.
func (w *website) startLocal() {
	if local := w.local; local != nil {
		w.accept(&listener{Listener: local}, w.server.ServeLocal)
	}
}

// runCertificate renews the certificate of now, in place of the one before. Under mu.
func (w *website) runCertificate() {
	if w.certificate != nil {
		w.certificate()
		w.certificate = nil
	}
	if w.serve == nil || w.ended {
		return
	}
	ctx, renewing := w.serve.ctx, w.serve.renewing
	switch files, acme := w.files, w.acme; {
	case files != nil:
		ctx, w.certificate = context.WithCancel(ctx)
		w.serve.running.Go(func() { files.Run(ctx) })
	case acme != nil:
		renewing, w.certificate = context.WithCancel(renewing)
		w.serve.running.Go(func() { acme.Run(renewing) })
	}
}

// parts returns what the site has now.
func (w *website) parts() webParts {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.webParts
}

// list returns the listeners for web servers in front.
func (w *website) list() []*listener {
	if w == nil {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.listeners
}

// replace makes all the listeners for web servers in front: it serves those that are new,
// and closes those that are not among them. Their connections go on.
func (w *website) replace(all []*listener) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range all {
		if slices.Contains(w.listeners, l) {
			continue
		}
		w.log.Info("listening for a web server in front", "address", l.Addr().String())
		switch {
		case w.ended:
			l.Close()
		case w.serve != nil:
			w.start(l)
		}
	}
	for _, l := range w.listeners {
		if !slices.Contains(all, l) {
			l.removed = true
			l.Close()
		}
	}
	w.listeners = all
}

// leave closes the listeners, whose sockets another process has. That one renews the
// certificate: the ACME server's connections do not come here.
func (w *website) leave() {
	closeAllHere(w.list())
	w.serve.leave()
}

// stopListening closes the listeners.
func (w *website) stopListening() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range w.listeners {
		l.removed = true
		l.Close()
	}
}

// close ends what the site serves.
func (w *website) close() {
	w.mu.Lock()
	ended, local, site := w.ended, w.local, w.site
	w.ended = true
	w.runCertificate()
	w.mu.Unlock()
	if ended {
		return
	}
	w.stopListening()
	if local != nil {
		local.Close()
	}
	w.server.Close()
	if site != nil {
		site.Close()
	}
}
