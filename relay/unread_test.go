package relay_test

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/mtwire/mtwire"
)

// The packets of a client that has left arrive at a server over HTTP although the client does not
// take the answer to the first of them: each is a request of its own, on a connection of its own.
func TestPacketsOfAClientThatHasLeftArriveOverHTTP(t *testing.T) {
	for _, client := range []string{"tcp://HOST:PORT", "ws://HOST:PORT/apiws"} {
		synctest.Test(t, func(t *testing.T) {
			h := connectHalves(t, client, "http://HOST:PORT/api")
			for range 3 {
				sends(t, h.client)
			}
			first := h.server(t)
			var others []*mtwire.Conn
			for range 3 {
				others = append(others, <-h.servers)
			}
			go h.client.Close()
			synctest.Wait()
			sends(t, first)
			synctest.Wait()
			for _, conn := range others {
				receives(t, conn)
				sends(t, conn)
				conn.Close()
			}
			<-h.ended
			if log := h.log.String(); !strings.Contains(log, "msg=relayed") || !strings.Contains(log, "up_packets=4 ") {
				t.Errorf("%s: %v", client, log)
			}
		})
	}
}
