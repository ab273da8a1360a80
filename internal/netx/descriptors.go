package netx

const (
	// defaultDescriptors is the usual limit where it cannot be read.
	defaultDescriptors = 1024
	// manyDescriptors is more than a process needs; some systems return far more.
	manyDescriptors = 1 << 20
)
