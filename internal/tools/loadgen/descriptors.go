package loadgen

import "fmt"

// spareDescriptors is the number of file descriptors of a process that are not for
// the connections of a phase.
const spareDescriptors = 64

// checkDescriptors returns an error if a phase of the plan needs more file
// descriptors than this process, or the processes of a side, may have.
func (r *runner) checkDescriptors() error {
	check := func(process string, limit int, phase Phase, connections int) error {
		need := 2*connections + spareDescriptors
		if need <= limit {
			return nil
		}
		return fmt.Errorf("%s: %s needs %d file descriptors, two for each of %d connections, and may have %d: "+
			"use fewer connections, or raise the limit (ulimit -n)", phase, process, need, connections, limit)
	}
	for _, phase := range r.Phases {
		sides, connections := r.opens(phase)
		if err := check("the load generator", descriptorLimit(), phase, sides*connections); err != nil {
			return err
		}
		for _, t := range r.targets() {
			if err := check(r.name(t), processes(t.Processes).descriptorLimit(), phase, connections); err != nil {
				return err
			}
		}
	}
	return nil
}

// opens returns the number of connections that a phase opens on each side, and the
// number of sides on which they are open at the same time.
func (p *Plan) opens(phase Phase) (sides, connections int) {
	switch phase {
	case PhaseIdle:
		return 1, warmUp + p.Idle
	case PhaseChat:
		return len(p.targets()), p.Chat.Connections
	case PhaseChatDownload, PhaseChatUpload:
		return len(p.targets()), p.Chat.Connections + p.Connections
	case PhasePaced:
		return 1, p.Paced.Connections
	case PhaseLatency:
		return 1, 1
	case PhaseChurn:
		return 1, churnAtOnce
	}
	return 1, p.Connections
}
