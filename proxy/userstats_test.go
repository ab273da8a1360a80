package proxy

import (
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire/mtwiretest"
)

// sumOf returns the sums of StatsByUser by name, with those of users that are gone as
// "-".
func sumOf(p *Proxy) map[string]UserStats {
	_, users, gone := p.StatsByUser()
	sums := map[string]UserStats{"-": gone}
	for _, u := range users {
		sums[u.Name] = u
	}
	return sums
}

// The sums of users have open connections, stay after their end, and move to those of
// users that are gone when the user is removed. One that comes back begins at zero.
func TestStatsByUser(t *testing.T) {
	dc, _ := dataCenter(t)
	p, address := startProxy(t, Config{
		DataCenters: allAt(dc),
		Users:       []User{user(t, "alice", mtwiretest.PlainSecret), user(t, "bob", mtwiretest.PaddedSecret[:2]+"0123456789abcdef0123456789abcde0")},
	})
	conn := join(t, address, "secret="+mtwiretest.PlainSecret)
	eventually(t, "bytes", func() bool {
		alice := sumOf(p)["alice"]
		return alice.Open == 1 && alice.Connections == 1 && alice.Up > 0 && alice.Down > 0
	})
	before := sumOf(p)
	if _, has := before["bob"]; has || before["-"] != (UserStats{}) {
		t.Errorf("%+v", before)
	}
	conn.Close()
	eventually(t, "the end", func() bool { return p.Stats().Open == 0 })
	alice := sumOf(p)["alice"]
	if want := before["alice"]; alice.Open != 0 || alice.Connections != 1 || alice.Up != want.Up || alice.Down < want.Down {
		t.Errorf("%+v, and %+v while it was open", alice, want)
	}
	users := p.Users()
	open := join(t, address, "secret="+mtwiretest.PlainSecret)
	setUsers(t, p, *users[1])
	eventually(t, "the end", func() bool { return p.Stats().Open == 0 })
	open.Close()
	stats, all, gone := p.StatsByUser()
	if len(all) != 0 || gone.Connections != 2 || gone.Up != stats.Up || gone.Down != stats.Down || gone.Open != 0 {
		t.Errorf("%+v, %+v, all have %d and %d", all, gone, stats.Up, stats.Down)
	}
	setUsers(t, p, *users[0], *users[1])
	join(t, address, "secret="+mtwiretest.PlainSecret)
	if again := sumOf(p)["alice"]; again.Connections != 1 {
		t.Errorf("%+v", again)
	}
}

// Stages has the open connections by their stage.
func TestStatsCountStages(t *testing.T) {
	hosts := map[string]func(net.Conn){"dc.test:443": echoing(1)}
	inBubble(t, Config{DataCenters: at("dc.test:443")}, hosts, func(t *testing.T, b *bubble) {
		b.connect()
		half := b.connect()
		half.Write([]byte("half"))
		conn := b.join(mtwiretest.PlainSecret)
		echo(t, conn, 3)
		synctest.Wait()
		if got := b.Stats().Stages; got[Accepted] != 1 || got[ClientBytes] != 1 || got[FirstByteDown] != 1 {
			t.Errorf("%v", got)
		}
	})
}

// Attempted is called for each attempt that has succeeded or failed, and Answered with
// the time since the first packet, once for a session.
func TestAttemptsAndAnswersAreTraced(t *testing.T) {
	const slow = 700 * time.Millisecond
	hosts := map[string]func(net.Conn){"dc.test:443": func(conn net.Conn) {
		time.Sleep(slow)
		echoing(2)(conn)
	}}
	var attempts []Attempt
	var answers []Answer
	config := Config{
		DataCenters: at("dead.test:443"),
		Traces: []*Trace{{
			Attempted: func(a Attempt) { attempts = append(attempts, a) },
			Answered:  func(_ Session, a Answer) { answers = append(answers, a) },
		}},
	}
	config.DataCenters[0] = append(config.DataCenters[0], "dc.test:443")
	inBubble(t, config, hosts, func(t *testing.T, b *bubble) {
		conn := b.join(mtwiretest.PlainSecret)
		echo(t, conn, 3)
		echo(t, conn, 3)
		conn.Close()
		synctest.Wait()
		if len(attempts) != 2 || attempts[0].Err == nil || attempts[0].Address != "dead.test:443" || attempts[0].DC != 4 ||
			attempts[1].Err != nil || attempts[1].Upstream != "direct" || attempts[1].Address != "dc.test:443" {
			t.Errorf("%+v", attempts)
		}
		if len(answers) != 1 || answers[0].DC != 4 || answers[0].Upstream != "direct" || answers[0].Waited < slow/2 || answers[0].Waited > 2*slow {
			t.Errorf("%+v", answers)
		}
	})
}

// DataCenters has what is known of each data centre, and Upstreams of each upstream.
func TestDataCentersAndUpstreams(t *testing.T) {
	hosts := map[string]func(net.Conn){"dc.test:443": echoing(10)}
	config := Config{DataCenters: at("dc.test:443")}
	config.DataCenters[3] = []string{"dead.test:443"}
	inBubble(t, config, hosts, func(t *testing.T, b *bubble) {
		if all := b.DataCenters(); len(all) != 0 {
			t.Errorf("%+v", all)
		}
		began := time.Now()
		echo(t, b.join(mtwiretest.PlainSecret), 3)
		client := b.connect()
		if conn := b.joinOn(client, mtwiretest.PlainSecret, 3); conn.Send(b.ctx, payload(3)) != nil {
			t.Error("not sent")
		}
		synctest.Wait()
		all := b.DataCenters()
		if len(all) != 2 || all[0].DC != 3 || all[0].State != Unreachable || all[0].Cause == nil || all[0].Sessions != 1 || !all[0].Heard.IsZero() ||
			all[1].DC != 4 || all[1].State != Answering || all[1].Heard.Sub(began).Abs() > time.Second {
			t.Errorf("%+v", all)
		}
		if up := b.Upstreams(); len(up) != 1 || up[0] != (UpstreamStatus{Upstream: "direct", Weight: 1}) {
			t.Errorf("%+v", up)
		}
	})
}
