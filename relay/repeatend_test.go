package relay_test

import (
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A packet whose POST fails is sent again also when its client has ended its stream, before the
// POST has failed or before it is repeated. Its answer comes before the end of the session.
func TestAFailedPOSTIsSentAgainBehindTheEndOfItsClient(t *testing.T) {
	for _, client := range []string{"tcp://HOST:PORT", "ws://HOST:PORT/apiws"} {
		for _, endsFirst := range []bool{true, false} {
			synctest.Test(t, func(t *testing.T) { failPOSTAtTheEnd(t, client, endsFirst) })
		}
	}
}

func failPOSTAtTheEnd(t *testing.T, client string, endsFirst bool) {
	h := connectHalves(t, client, "http://HOST:PORT/api")
	conn := h.server(t)
	sends(t, conn)
	receives(t, h.client)
	sends(t, h.client)
	receives(t, conn)
	end := func() {
		if strings.HasPrefix(client, "ws") {
			go h.client.Close()
		} else {
			closesWrite(t, h.client)
		}
		synctest.Wait()
	}
	if endsFirst {
		end()
	}
	conn.Close() // an idle connection, whose POST is repeated at once
	for range 3 {
		synctest.Wait()
		h.server(t).Close()
		if !endsFirst {
			synctest.Wait() // until the pause
			end()
			endsFirst = true
		}
	}
	last := h.server(t)
	time.Sleep(900 * time.Millisecond)
	sends(t, last)
	if strings.HasPrefix(client, "tcp") {
		receives(t, h.client)
		ends(t, h.client, time.Now(), 0)
	} else if _, err := last.Receive(t.Context()); err != io.EOF {
		t.Errorf("%v in place of the end", err)
	}
	<-h.ended
	if log := h.log.String(); !strings.Contains(log, "msg=relayed") {
		t.Errorf("%s: %v", client, log)
	}
}
