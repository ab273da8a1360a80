package loadgen

import (
	"context"
	"os"
	"slices"
)

// keepAwake keeps the processors of sleepless awake, if the plan wants that, until stop is
// called.
func (r *runner) keepAwake(ctx context.Context, phase Phase) (stop func(), err error) {
	stop = func() {}
	if r.Awake == nil {
		return stop, nil
	}
	load, err := processors(os.Getpid())
	if err != nil {
		return stop, err
	}
	proxy := load
	if watched := r.Proxy.Processes; len(watched) > 0 {
		if proxy, err = processors(watched[0]); err != nil {
			return stop, err
		}
	}
	list := sleepless(phase, proxy, load)
	if len(list) == 0 {
		return stop, nil
	}
	return r.Awake(ctx, list)
}

// sleepless returns which of the processors of the proxy and the load are kept awake in a
// phase: those that wait for small messages. A loop beside the process of the downloads and
// uploads would take half of its time: both are SCHED_IDLE.
func sleepless(phase Phase, proxy, load []int) []int {
	switch phase {
	case PhaseLatency, PhaseChat, PhaseChurn:
		all := slices.Concat(proxy, load)
		slices.Sort(all)
		return slices.Compact(all)
	case PhaseChatDownload, PhaseChatUpload:
		return slices.DeleteFunc(slices.Clone(proxy), func(n int) bool { return slices.Contains(load, n) })
	}
	return nil
}
