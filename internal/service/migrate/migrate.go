// Package migrate turns the configurations of other MTProxy servers into a
// configuration file of this one: mtg's, telemt's, mtprotoproxy's and that of the
// official MTProxy. It reads them as data, and executes nothing.
//
//	migrate.go       what is read, and what is written
//	options.go       options of a configuration, and those without a counterpart
//	output.go        the file that is written
//	detect.go        which program a configuration is of
//	toml.go          mtg's and telemt's format
//	python.go        mtprotoproxy's format: assignments of literals
//	commandline.go   MTProxy's command line, and units of systemd
//	mtg.go, telemt.go, mtprotoproxy.go, mtproxy.go   their options
package migrate

import (
	"fmt"
	"strings"
)

// Program is a program whose configuration is read.
type Program string

// The programs.
const (
	MTG          Program = "mtg"
	Telemt       Program = "telemt"
	Mtprotoproxy Program = "mtprotoproxy"
	MTProxy      Program = "mtproxy"
)

// Programs returns all programs.
func Programs() []Program { return []Program{MTG, Telemt, Mtprotoproxy, MTProxy} }

// UnmarshalText parses a name. After an error p is unchanged.
func (p *Program) UnmarshalText(text []byte) error {
	for _, program := range Programs() {
		if strings.EqualFold(string(text), string(program)) {
			*p = program
			return nil
		}
	}
	return fmt.Errorf("unknown program %q: want mtg, telemt, mtprotoproxy or mtproxy", text)
}

// MarshalText returns the name.
func (p Program) MarshalText() ([]byte, error) { return []byte(p), nil }

// MaxFile limits the size of a configuration that is read, in bytes.
const MaxFile = 16 << 20

// Note is what an operator has to know about an option that was not taken over as it is.
type Note struct {
	Line   int    // of the option, from 1; 0 if it is not known
	Option string // such as "network.doh-ip", "" if it is about no option
	Text   string // what to do instead
}

// String returns LINE, OPTION and text.
func (n Note) String() string {
	text := n.Text
	if n.Option != "" {
		text = n.Option + ": " + text
	}
	if n.Line > 0 {
		text = fmt.Sprintf("line %d: %s", n.Line, text)
	}
	return text
}

// Result is a configuration that was read.
type Result struct {
	Program Program
	Notes   []Note // in the order of the lines
	TOML    []byte // the configuration file, with the notes as comments
}

// Import reads a configuration of a program. An empty program is detected. An error
// quotes no secret.
func Import(text []byte, from Program) (*Result, error) {
	if len(text) > MaxFile {
		return nil, fmt.Errorf("the file has more than %d MiB", MaxFile>>20)
	}
	if from == "" {
		if from = Detect(text); from == "" {
			return nil, errUnknownFormat
		}
	}
	read, convert, known := readTOML, convertMTG, mtgOptions
	switch from {
	case Telemt:
		convert, known = convertTelemt, telemtOptions
	case Mtprotoproxy:
		read, convert, known = readPython, convertMtprotoproxy, mtprotoproxyOptions
	case MTProxy:
		read, convert, known = readCommandLine, convertMTProxy, mtproxyOptions
	}
	options, err := read(text, known)
	if err != nil {
		return nil, err
	}
	out := &output{settings: make(map[string]string)}
	convert(options, out)
	options.noteRest(out)
	if len(out.users) == 0 {
		return nil, fmt.Errorf("no secret is in it: is it a configuration of %s", from)
	}
	return &Result{from, out.sortedNotes(), out.encode(from)}, nil
}
