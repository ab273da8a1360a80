package migrate

import (
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// readPython reads mtprotoproxy's config.py: assignments of literals to names. Every
// other statement is noted, with the lines that are indented below it.
//
// Grammar of literals: https://docs.python.org/3/reference/lexical_analysis.html#literals
func readPython(text []byte, known []Option) (*options, error) {
	if !utf8.Valid(text) {
		return nil, errors.New("the file is not UTF-8")
	}
	o := &options{known: known}
	p := &pythonReader{text: strings.TrimPrefix(string(text), "\ufeff"), line: 1}
	for p.skipBlank(); p.pos < len(p.text); p.skipBlank() {
		begin, line := p.pos, p.line
		if name, value, err := p.assignment(); err == nil {
			o.add(name, line, value)
			continue
		}
		p.pos, p.line = begin, line
		p.skipStatement()
		o.notes = append(o.notes, Note{line, "", "this statement is not understood, and was not executed: only values that are literals are taken over"})
	}
	return o, nil
}

// pythonReader reads statements.
type pythonReader struct {
	text   string
	pos    int
	line   int
	inside int // brackets that are open
}

var errPython = errors.New("not understood")

// maxPythonDepth limits how deep literals are in one another.
const maxPythonDepth = 20

func (p *pythonReader) rest() string { return p.text[p.pos:] }

// skipSpace skips white space within a statement, and comments and ends of lines within
// brackets.
func (p *pythonReader) skipSpace() {
	for p.pos < len(p.text) {
		switch c := p.text[p.pos]; {
		case c == ' ' || c == '\t' || c == '\f' || c == '\r':
			p.pos++
		case c == '\\' && (strings.HasPrefix(p.rest(), "\\\n") || strings.HasPrefix(p.rest(), "\\\r\n")):
			p.pos += strings.IndexByte(p.rest(), '\n') + 1
			p.line++
		case c == '\n' && p.inside > 0:
			p.pos++
			p.line++
		case c == '#' && p.inside > 0:
			p.skipLine()
		default:
			return
		}
	}
}

// skipLine skips what is left of a line, without its end.
func (p *pythonReader) skipLine() {
	if i := strings.IndexByte(p.rest(), '\n'); i >= 0 {
		p.pos += i
	} else {
		p.pos = len(p.text)
	}
}

// skipBlank skips to the next statement: empty lines, comments and semicolons.
func (p *pythonReader) skipBlank() {
	for p.pos < len(p.text) {
		switch c := p.text[p.pos]; c {
		case '\n':
			p.pos++
			p.line++
		case '#':
			p.skipLine()
		case ';', ' ', '\t', '\r', '\f':
			p.pos++
		default:
			return
		}
	}
}

// skipStatement skips a statement that is not understood: its lines, also those within
// brackets and long strings, and the indented ones below.
func (p *pythonReader) skipStatement() {
	for p.inside = 0; p.pos < len(p.text); {
		switch c := p.text[p.pos]; c {
		case '\n':
			p.pos++
			p.line++
			next := strings.TrimLeft(p.rest(), " \t\r\n\f")
			if p.inside == 0 && (next == "" || !p.indented()) {
				return
			}
		case '#':
			p.skipLine()
		case '"', '\'':
			if _, err := p.quoted(false); err != nil {
				p.pos++
			}
		case '(', '[', '{':
			p.inside++
			p.pos++
		case ')', ']', '}':
			p.inside = max(p.inside-1, 0)
			p.pos++
		default:
			p.pos++
		}
	}
}

// continuing are the words that continue a statement.
var continuing = []string{"elif", "else", "except", "finally"}

// indented reports whether the next line that is not empty begins with white space, or
// continues the statement, as else does.
func (p *pythonReader) indented() bool {
	rest := p.rest()
	for {
		line, after, more := strings.Cut(rest, "\n")
		if strings.TrimSpace(line) != "" || !more {
			word := strings.TrimRight(strings.SplitN(line+" ", " ", 2)[0], ":\r")
			return line != "" && (line[0] == ' ' || line[0] == '\t' || slices.Contains(continuing, word))
		}
		rest = after
	}
}

// assignment reads NAME = LITERAL and the end of the line.
func (p *pythonReader) assignment() (name string, value any, err error) {
	p.inside = 0
	if p.pos > 0 && p.text[p.pos-1] != '\n' && p.text[p.pos-1] != ';' && strings.TrimSpace(p.text[strings.LastIndexByte(p.text[:p.pos], '\n')+1:p.pos]) == "" {
		return "", nil, errPython // indented
	}
	if name = p.name(); name == "" {
		return "", nil, errPython
	}
	p.skipSpace()
	if !strings.HasPrefix(p.rest(), "=") || strings.HasPrefix(p.rest(), "==") {
		return "", nil, errPython
	}
	p.pos++
	if value, err = p.value(0); err != nil {
		return "", nil, err
	}
	p.skipSpace()
	if p.pos < len(p.text) && !strings.ContainsRune("\n#;", rune(p.text[p.pos])) {
		return "", nil, errPython
	}
	return name, value, nil
}

func (p *pythonReader) name() string {
	begin := p.pos
	for p.pos < len(p.text) {
		c := p.text[p.pos]
		if !(c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || p.pos > begin && '0' <= c && c <= '9') {
			break
		}
		p.pos++
	}
	return p.text[begin:p.pos]
}

// value reads a literal, or a product of numbers, such as 24*60*60.
func (p *pythonReader) value(depth int) (any, error) {
	value, err := p.literal(depth)
	for err == nil {
		p.skipSpace()
		if !strings.HasPrefix(p.rest(), "*") || strings.HasPrefix(p.rest(), "**") {
			return value, nil
		}
		p.pos++
		var factor any
		if factor, err = p.literal(depth); err != nil {
			break
		}
		a, ok := value.(int64)
		b, also := factor.(int64)
		if !ok || !also || a != 0 && (b > math.MaxInt64/max(a, -a, 1) || b < -math.MaxInt64/max(a, -a, 1)) || a == math.MinInt64 {
			return nil, errPython
		}
		value = a * b
	}
	return nil, err
}

func (p *pythonReader) literal(depth int) (any, error) {
	p.skipSpace()
	if p.pos >= len(p.text) || depth > maxPythonDepth {
		return nil, errPython
	}
	switch c := p.text[p.pos]; {
	case c == '{':
		return p.dict(depth)
	case c == '[':
		return p.list(depth, ']')
	case c == '(':
		return p.list(depth, ')')
	case c == '"' || c == '\'':
		return p.strings()
	case '0' <= c && c <= '9' || c == '-' || c == '+' || c == '.':
		return p.number()
	}
	begin := p.pos
	name := p.name()
	switch name {
	case "True":
		return true, nil
	case "False":
		return false, nil
	case "None":
		return nil, nil
	}
	// r"..." and b"...": f"..." has expressions in it.
	if p.pos < len(p.text) && (p.text[p.pos] == '"' || p.text[p.pos] == '\'') && strings.Trim(strings.ToLower(name), "rbu") == "" && len(name) <= 2 {
		p.pos = begin
		return p.strings()
	}
	return nil, errPython
}

func (p *pythonReader) number() (any, error) {
	begin := p.pos
	for p.pos < len(p.text) && (strings.ContainsRune("0123456789abcdefABCDEFxXoO_.", rune(p.text[p.pos])) ||
		(p.text[p.pos] == '-' || p.text[p.pos] == '+') && (p.pos == begin || p.text[p.pos-1] == 'e')) {
		p.pos++
	}
	text := strings.TrimPrefix(p.text[begin:p.pos], "+")
	if n, err := strconv.ParseInt(text, 0, 64); err == nil {
		return n, nil
	}
	f, err := strconv.ParseFloat(strings.ReplaceAll(text, "_", ""), 64)
	if err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
		return nil, errPython
	}
	return f, nil
}

// list reads a list or a tuple. A tuple of one element without a comma is that element.
func (p *pythonReader) list(depth int, closing byte) (any, error) {
	p.pos++
	p.inside++
	elements, comma := []any{}, false
	for {
		p.skipSpace()
		if p.pos < len(p.text) && p.text[p.pos] == closing {
			p.pos++
			p.inside--
			if closing == ')' && len(elements) == 1 && !comma {
				return elements[0], nil
			}
			return elements, nil
		}
		if len(elements) > 0 && !comma {
			return nil, errPython
		}
		element, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		elements = append(elements, element)
		comma = p.comma()
	}
}

func (p *pythonReader) comma() bool {
	p.skipSpace()
	if strings.HasPrefix(p.rest(), ",") {
		p.pos++
		return true
	}
	return false
}

func (p *pythonReader) dict(depth int) (any, error) {
	p.pos++
	p.inside++
	d := newDict()
	for comma := true; ; comma = p.comma() {
		p.skipSpace()
		if strings.HasPrefix(p.rest(), "}") {
			p.pos++
			p.inside--
			return d, nil
		}
		if !comma {
			return nil, errPython
		}
		key, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		name := textOf(key)
		if p.skipSpace(); name == "" || !strings.HasPrefix(p.rest(), ":") {
			return nil, errPython
		}
		p.pos++
		value, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		d.set(name, value)
	}
}

// strings reads a string, and those that follow it, which continue it.
func (p *pythonReader) strings() (any, error) {
	var all strings.Builder
	for {
		begin := p.pos
		prefix := strings.ToLower(p.name())
		if p.pos >= len(p.text) || p.text[p.pos] != '"' && p.text[p.pos] != '\'' {
			p.pos = begin
			return all.String(), nil
		}
		if strings.Trim(prefix, "rbu") != "" {
			return nil, errPython
		}
		text, err := p.quoted(strings.Contains(prefix, "r"))
		if err != nil {
			return nil, err
		}
		all.WriteString(text)
		p.skipSpace()
	}
}

// quoted reads a string from its quotation mark on.
func (p *pythonReader) quoted(raw bool) (string, error) {
	mark := p.text[p.pos : p.pos+1]
	if long := strings.Repeat(mark, 3); strings.HasPrefix(p.rest(), long) {
		mark = long
	}
	var out strings.Builder
	lines := 0
	for i := p.pos + len(mark); i < len(p.text); {
		switch c := p.text[i]; {
		case strings.HasPrefix(p.text[i:], mark):
			p.pos, p.line = i+len(mark), p.line+lines
			return out.String(), nil
		case c == '\n' && len(mark) == 1:
			return "", errPython
		case c == '\\' && i+1 < len(p.text):
			text, n, ok := escape(p.text[i:])
			if raw {
				text, n, ok = p.text[i:i+2], 2, true
			}
			if !ok {
				return "", errPython
			}
			lines += strings.Count(p.text[i:i+n], "\n")
			out.WriteString(text)
			i += n
		default:
			if c == '\n' {
				lines++
			}
			out.WriteByte(c)
			i++
		}
	}
	return "", errPython
}

// escape returns what an escape stands for, and its length.
func escape(text string) (out string, n int, ok bool) {
	switch c := text[1]; c {
	case '\n':
		return "", 2, true
	case '\\', '\'', '"':
		return string(c), 2, true
	case 'n':
		return "\n", 2, true
	case 't':
		return "\t", 2, true
	case 'r':
		return "\r", 2, true
	case 'x', 'u':
		n := map[byte]int{'x': 4, 'u': 6}[c]
		if len(text) < n {
			return "", 0, false
		}
		r, err := strconv.ParseUint(text[2:n], 16, 32)
		return string(rune(r)), n, err == nil
	}
	return "", 0, false
}
