package admin

import (
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
)

// An upgrade answers with what it has come to, and with the status of what has gone wrong.
// A program can be named over a Unix socket only.
func TestUpgradeAnswers(t *testing.T) {
	var asked []string
	var failed error
	s := start(t, Config{Upgrade: func(program string) (Upgrade, error) {
		asked = append(asked, program)
		return Upgrade{From: "v1", To: "v2", PID: 4711, Sessions: 9, Left: 3, Took: 0.5}, failed
	}})
	for _, test := range []struct {
		network, body string
		err           error
		want          int
	}{
		{"unix", "", nil, 200},
		{"unix", `{"binary": "/bin/mtwire"}`, nil, 200},
		{"tcp", `{}`, nil, 200},
		{"tcp", `{"binary": "/bin/mtwire"}`, nil, 403},
		{"unix", `{"binary": "mtwire"}`, nil, 422},
		{"unix", `{"path": "/bin/mtwire"}`, nil, 400},
		{"unix", "", fmt.Errorf("%w: another", ErrNoUpgrade), 409},
		{"unix", "", fmt.Errorf("%w: no file", ErrProgram), 422},
		{"unix", "", errors.New("the new process has ended"), 502},
	} {
		failed = test.err
		r := httptest.NewRequest("POST", "http://127.0.0.1/v1/upgrade", nil)
		if test.body != "" {
			r = httptest.NewRequest("POST", "http://127.0.0.1/v1/upgrade", strings.NewReader(test.body))
			r.Header.Set("Content-Type", "application/json")
		}
		r.Header.Set("Authorization", "Bearer "+testToken)
		answer, body := s.do(t, test.network, r)
		if answer.StatusCode != test.want {
			t.Errorf("%s %s: %s %s, want %d", test.network, test.body, answer.Status, body, test.want)
		}
		if test.want != 200 {
			checkProblem(t, answer, body)
		} else if want := `{"from":"v1","to":"v2","pid":4711,"sessions":9,"left":3,"seconds":0.5}` + "\n"; body != want {
			t.Error(body)
		}
	}
	if got := fmt.Sprintf("%q", asked); got != `["" "/bin/mtwire" "" "" "" ""]` {
		t.Error(got)
	}
	stopped := start(t, Config{})
	if answer, _ := stopped.do(t, "unix", httptest.NewRequest("POST", "http://127.0.0.1/v1/upgrade", nil)); answer.StatusCode != 501 {
		t.Error(answer.Status)
	}
}
