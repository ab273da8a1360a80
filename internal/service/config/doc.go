// Package config reads the configuration file of a server: TOML, strictly. The caller
// has the schema, a struct whose fields have keys in their tags:
//
//	Listen []ListenAddress `toml:"listen"`
//
// Decoding, checking and applying are apart: Decode fills a value and checks nothing
// that takes more than the value itself, the caller checks it, and what was decoded can
// be compared with what is in force, and replace it.
//
//	decode.go    a document into a struct, with all of its errors
//	value.go     values by their type
//	errors.go    errors and their positions
//	locate.go    where a key of a document is
//	schema.go    the keys of a struct
//	encode.go    a struct as TOML, for people, without secrets
//	nearest.go   the name that was probably meant
//	user.go      users with their limits, as data; types.go: types of its values
package config
