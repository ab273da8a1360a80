package proxy

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/mtwire/mtwire/mtproxy"
)

// Among many secrets of several kinds the log names the right user, and no secret.
func TestUserIsFoundAmongManySecrets(t *testing.T) {
	dc, _ := dataCenter(t)
	users := slices.Concat(
		numberedUsers(0, 80, mtproxy.Plain, ""), numberedUsers(80, 80, mtproxy.Padded, ""),
		numberedUsers(160, 80, mtproxy.FakeTLS, "a.example"), numberedUsers(240, 80, mtproxy.FakeTLS, "b.example"),
	)
	log := &logBuffer{}
	host, _ := frontingHost(t)
	address := start(t, Config{Users: users, Log: log.logger(), Fronts: map[string]Front{"": {Address: host}}, DataCenters: allAt(dc)})
	for _, i := range []int{0, 79, 80, 159, 160, 239, 240, 319} {
		join(t, address, "secret="+users[i].Secrets[0].String()).Close()
		mode := []string{"dd", "dd", "ee", "ee"}[i/80]
		line := fmt.Sprintf(`user="user %d" mode=%s`, i, mode)
		eventually(t, line, func() bool { return len(log.closed(line)) == 1 })
	}
	if text := strings.Join(log.lines(""), "\n"); strings.Contains(text, users[0].Secrets[0].String()[:20]) {
		t.Error("a secret is in the log")
	}
}
