package migrate

import (
	"errors"
	"fmt"
	"path"
	"strings"
)

// readCommandLine reads MTProxy's command line: alone, as in a shell script, or in
// ExecStart= of a unit of systemd. A backslash at the end of a line continues it.
//
// Format: https://www.freedesktop.org/software/systemd/man/latest/systemd.service.html#Command%20lines
func readCommandLine(text []byte, known []Option) (*options, error) {
	o := &options{known: known}
	for _, l := range logicalLines(string(text)) {
		command := l.text
		if setting, value, isUnit := strings.Cut(command, "="); isUnit && isUnitKey(setting) {
			if setting = strings.TrimSpace(setting); setting != "ExecStart" {
				continue
			}
			command = strings.TrimLeft(strings.TrimSpace(value), "@-:+!|")
		}
		words, err := splitWords(command)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", l.line, err)
		}
		program := -1
		for i, word := range words {
			if path.Base(word) == "mtproto-proxy" {
				program = i
				break
			}
		}
		if program < 0 {
			continue
		}
		if len(o.settings) > 0 {
			o.notes = append(o.notes, Note{l.line, "", "this is another command line of MTProxy: import it alone"})
			continue
		}
		o.add("mtproto-proxy", l.line, words[program])
		o.addArguments(words[program+1:], l.line)
	}
	if len(o.settings) == 0 {
		return nil, errors.New("no command line of mtproto-proxy is in it")
	}
	return o, nil
}

// isUnitKey reports whether a text in front of = is a key of a unit.
func isUnitKey(text string) bool {
	text = strings.TrimSpace(text)
	return text != "" && 'A' <= text[0] && text[0] <= 'Z' && !strings.ContainsAny(text, " \t/\"'-")
}

// logicalLine is a line with those that continue it.
type logicalLine struct {
	text string
	line int
}

// logicalLines returns the lines without comments. In a line that is continued,
// comments between its parts are left out, as systemd does.
func logicalLines(text string) (lines []logicalLine) {
	continued := false
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimRight(line, " \t\r\n")
		if trimmed := strings.TrimSpace(line); strings.HasPrefix(trimmed, "#") || strings.HasPrefix(trimmed, ";") {
			continue
		}
		part, more := strings.CutSuffix(line, `\`)
		if continued {
			lines[len(lines)-1].text += " " + part
		} else {
			lines = append(lines, logicalLine{part, number})
		}
		continued = more
	}
	return lines
}

// splitWords splits a command line at white space. Quotation marks group, and a
// backslash takes the next character as it is.
func splitWords(line string) (words []string, err error) {
	var word strings.Builder
	begun, quote := false, byte(0)
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == '\\' && quote != '\'' && i+1 < len(line):
			i++
			word.WriteByte(line[i])
			begun = true
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '"' || c == '\''):
			quote, begun = c, true
		case quote == 0 && (c == ' ' || c == '\t'):
			if begun {
				words = append(words, word.String())
			}
			word.Reset()
			begun = false
		default:
			word.WriteByte(c)
			begun = true
		}
	}
	if quote != 0 {
		return nil, errors.New("a quotation mark is not closed")
	}
	if begun {
		words = append(words, word.String())
	}
	return words, nil
}

// mtproxyOption is an option of MTProxy's command line.
type mtproxyOption struct {
	name     string
	short    byte // 0 for none
	hasValue bool
}

// mtproxyArguments are the options of MTProxy's command line.
var mtproxyArguments = []mtproxyOption{
	{"mtproto-secret", 'S', true}, {"proxy-tag", 'P', true}, {"domain", 'D', true}, {"random-padding-only", 'R', false},
	{"http-ports", 'H', true}, {"port", 'p', true}, {"address", 0, true}, {"ipv6", '6', false}, {"nat-info", 0, true},
	{"slaves", 'M', true}, {"max-special-connections", 'C', true}, {"connections", 'c', true}, {"window-clamp", 'W', true},
	{"ping-interval", 'T', true}, {"aes-pwd", 0, true}, {"http-stats", 0, false}, {"user", 'u', true}, {"backlog", 'b', true},
	{"log", 'l', true}, {"verbosity", 'v', false}, {"daemonize", 'd', false}, {"nice", 0, true}, {"msg-buffers-size", 0, true},
	{"disable-tcp", 0, false}, {"crc32c", 0, false}, {"force-dh", 0, false}, {"allow-skip-dh", 0, false}, {"cpu-threads", 0, true},
	{"io-threads", 0, true}, {"multithread", 0, false}, {"tcp-cpu-threads", 0, true}, {"tcp-iothreads", 0, true}, {"help", 'h', false},
}

// addArguments adds the options of a command line, as getopt_long reads it: words that
// are no options may be anywhere.
func (o *options) addArguments(words []string, line int) {
	add := func(option *mtproxyOption, value string, inWord bool) (usesNext bool) {
		if !option.hasValue && !inWord {
			o.add(option.name, line, true)
			return false
		}
		o.add(option.name, line, value)
		return !inWord
	}
	for i := 0; i < len(words); i++ {
		next := ""
		if i+1 < len(words) {
			next = words[i+1]
		}
		word := words[i]
		if word == "--" {
			for _, word := range words[i+1:] {
				o.add("config-file", line, word)
			}
			return
		}
		if name, ok := strings.CutPrefix(word, "--"); ok {
			name, value, inWord := strings.Cut(name, "=")
			if option := longArgument(name); option == nil {
				o.add("--"+name, line, true)
			} else if !inWord && add(option, next, false) || inWord && add(option, value, true) {
				i++
			}
			continue
		}
		if len(word) < 2 || word[0] != '-' {
			o.add("config-file", line, word)
			continue
		}
		for letters := word[1:]; letters != ""; letters = letters[1:] {
			option := shortArgument(letters[0])
			if option == nil {
				o.add("-"+letters[:1], line, true)
				continue
			}
			if value := letters[1:]; option.hasValue && value != "" {
				add(option, value, true)
				break
			}
			if add(option, next, false) && option.hasValue {
				i++
			}
		}
	}
}

func longArgument(name string) *mtproxyOption {
	for i := range mtproxyArguments {
		if mtproxyArguments[i].name == name {
			return &mtproxyArguments[i]
		}
	}
	return nil
}

func shortArgument(letter byte) *mtproxyOption {
	for i := range mtproxyArguments {
		if mtproxyArguments[i].short == letter {
			return &mtproxyArguments[i]
		}
	}
	return nil
}
