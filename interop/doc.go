// Package interop tests the interoperability of mtwire with implementations that
// share no code with it. It has tests only; see README.md.
package interop
