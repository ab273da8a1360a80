package service

import (
	"context"
	"net"
	"slices"
	"sync"
)

// Serving the web site: its streams, its certificate, and its listeners, which come and go.

// webServing is a website that is served.
type webServing struct {
	ctx, renewing context.Context    // renewing ends earlier, when another process renews the certificate
	leave         context.CancelFunc // ends renewing
	running       sync.WaitGroup
}

// run serves the site, and its streams through serve, until the caller calls stop.
func (w *website) run(serve func(context.Context, net.Listener) error) (stop func()) {
	s := new(webServing)
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
	return func() {
		cancel()
		w.close()
		s.running.Wait()
	}
}

// start serves l. Under mu, when the site is served.
func (w *website) start(l *listener) {
	l.stop = func() { l.Close() }
	w.serve.running.Go(func() { w.server.ServePlain(l.Listener) })
}

// startLocal serves the site as a fronting host. Under mu, when the site is served.
func (w *website) startLocal() {
	if local := w.local; local != nil {
		w.serve.running.Go(func() { w.server.ServeLocal(local) })
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
	for _, l := range w.list() {
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
