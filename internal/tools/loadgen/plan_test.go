package loadgen

import (
	"strings"
	"testing"

	"github.com/mtwire/mtwire"
)

func TestInvalidPlansAreErrors(t *testing.T) {
	dc := startDataCenter(t)
	for want, spoil := range map[string]func(*Plan){
		"unknown phase":    func(p *Plan) { p.Phases = []Phase{"sideways"} },
		"negative":         func(p *Plan) { p.Idle = -1 },
		"packet size 100":  func(p *Plan) { p.PacketSize = 100 },
		"packet size 201":  func(p *Plan) { p.Chat.Size = 201 },
		"chat of 10":       func(p *Plan) { p.Chat.Interval = 9 },
		"chat of -1":       func(p *Plan) { p.Chat.Connections = -1 },
		"packet size 4096": func(p *Plan) { p.Paced.Size = 4096 },
		"takes 3.2":        func(p *Plan) { p.Paced.Rate = 10_000 },
		"takes 0s":         func(p *Plan) { p.Paced.Rate = 1 << 50 },
		"churn of -1":      func(p *Plan) { p.Churn.Rate = -1 },
		"connect over TCP": func(p *Plan) { p.Proxy.Endpoint.Carrier = mtwire.HTTP },
		"process":          func(p *Plan) { p.Proxy.Processes = []int{1 << 29} },
	} {
		plan := smallPlan(dc, direct(dc.Addr()))
		spoil(&plan)
		if _, err := Run(testContext(t), plan); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
