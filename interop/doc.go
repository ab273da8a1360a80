// Package interop holds tests of mtwire against code that shares nothing with
// it. There is nothing to import; see README.md.
package interop
