package proxy

import (
	"errors"
	"testing"
	"time"

	"github.com/mtwire/mtwire/mtwiretest"
)

// A session that waits for the user's rate ends with its client's stream, in every mode, also
// if packets have come before: its place is for the next one.
func TestAWaitingSessionEndsWithItsClient(t *testing.T) {
	dc, _ := dataCenter(t)
	for _, secret := range []string{mtwiretest.PlainSecret, mtwiretest.PaddedSecret, mtwiretest.FakeTLSSecret} {
		waits := make(chan bool, 1)
		account := &testAccount{wait: func() time.Duration { waits <- true; return time.Hour }}
		_, address := startProxy(t, Config{DataCenters: allAt(dc), Policy: admitTo(account)})
		conn := dial(t, address, "secret="+secret)
		if err := conn.Send(short(t), payload(8)); err != nil {
			t.Fatal(err)
		}
		<-waits
		conn.Close()
		eventually(t, "the session ends", func() bool { return len(account.reports()) == 1 })
		if r := account.reports()[0]; !errors.Is(r.Err, errClientGone) || r.Stage != Authenticated {
			t.Errorf("%s: %+v", secret, r)
		}
	}
}
