//go:build !unix

package netx

// MaxDescriptors returns a large number: the system has no limit of this kind.
func MaxDescriptors() int { return manyDescriptors }
