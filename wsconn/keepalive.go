//go:build !js

package wsconn

import (
	"sync/atomic"
	"time"
)

// keepAlive pings a silent peer, if the interval is positive. It has a timer and no
// goroutine.
//
// Pongs are read by Read. So while no Read is pending, silence proves nothing, and
// the peer is not pinged.
type keepAlive struct {
	interval time.Duration
	timer    *time.Timer // guarded by Conn.dmu; nil without an interval

	reading  atomic.Int32 // pending Reads
	pinged   bool         // used by the timer's function only
	timedOut atomic.Bool
}

func (c *Conn) startKeepAlive(interval time.Duration) {
	if interval <= 0 {
		return
	}
	c.dmu.Lock()
	defer c.dmu.Unlock()
	c.keepAlive.interval = interval
	c.keepAlive.timer = time.AfterFunc(interval, c.keepAliveTick)
}

// keepAliveTick pings the peer if nothing has arrived for an interval, and closes the
// connection below if nothing has since the ping was sent.
func (c *Conn) keepAliveTick() {
	k, next := &c.keepAlive, c.keepAlive.interval
	switch since, sent := c.stream.controls.sincePing(); {
	case c.stream.heard.Swap(false), k.reading.Load() == 0:
		k.pinged = false
	case !k.pinged:
		k.pinged = true
		c.stream.sendPing(nil)
	case !sent: // it waits behind a message that the peer takes slowly
	case since < k.interval:
		next -= since
	default:
		k.timedOut.Store(true)
		c.stream.Conn.Close()
		return
	}
	c.dmu.Lock()
	defer c.dmu.Unlock()
	if k.timer != nil {
		k.timer.Reset(next)
	}
}

// stopKeepAlive ends the timer. dmu is held.
func (c *Conn) stopKeepAlive() {
	if k := &c.keepAlive; k.timer != nil {
		k.timer.Stop()
		k.timer = nil
	}
}
