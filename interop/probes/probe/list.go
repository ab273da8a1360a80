package probe

import "slices"

// All returns all probes, in the order of the tables.
func All() []Probe {
	return slices.Concat(
		silenceProbes(), shortProbes(), partialHelloProbes(), afterHelloProbes(),
		httpProbes(), recordProbes(), helloProbes(), protocolProbes(), randomProbes(),
		fakeTLSProbes(), dialogueProbes(),
	)
}
