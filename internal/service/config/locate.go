package config

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2/unstable"
)

// Document is a document that was decoded. Its methods may be called concurrently.
type Document struct {
	file string
	keys map[string]bool // of the top, and "user" for [[user]]

	mu      sync.Mutex
	data    []byte         // nil after Release
	offsets map[string]int // of keys and elements of arrays, by path; nil before the first use
	lines   []int          // where lines begin
}

// NewDocument returns a document of valid TOML, without decoding it. It keeps data.
func NewDocument(file string, data []byte) *Document { return &Document{file: file, data: data} }

// note records that a path is in the document, if it is a key of the top.
func (d *Document) note(path string) {
	if !strings.Contains(path, ".") {
		if d.keys == nil {
			d.keys = make(map[string]bool)
		}
		d.keys[path] = true
	}
}

// Has reports whether the document has a value for a key of the top. A nil document
// has nothing.
func (d *Document) Has(key string) bool { return d != nil && d.keys[key] }

// File returns the document's name.
func (d *Document) File() string { return d.file }

// Text returns the document's text, which the caller must not change, nil after Release.
func (d *Document) Text() []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.data
}

// Release gives up the document's text, of many megabytes if there are many users, and
// with it the positions in it. Has and File go on.
func (d *Document) Release() {
	if d == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.data, d.offsets, d.lines = nil, make(map[string]int), nil
}

// Error returns an error about a path, such as "listen[1]" or "user[3].name", at its
// position. If the document does not have it, the position is that of the table.
func (d *Document) Error(path string, err error) *Error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.index()
	for at := path; ; at = parent(at) {
		if offset, ok := d.offsets[at]; ok {
			return d.at(offset, path, err)
		}
		if at == "" {
			return &Error{File: d.file, Key: path, Err: err}
		}
	}
}

// Position returns FILE:LINE:COLUMN of a path, "" if the document does not have it or was
// released.
func (d *Document) Position(path string) string {
	if d.Line(path) == 0 {
		return ""
	}
	e := d.Error(path, nil)
	return fmt.Sprintf("%s:%d:%d", e.File, e.Line, e.Column)
}

// Line returns the line of a path, from 1, 0 if the document does not have it.
// A nil document has nothing.
func (d *Document) Line(path string) int {
	if d == nil {
		return 0
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.index()
	offset, ok := d.offsets[path]
	if !ok {
		return 0
	}
	line, _ := slices.BinarySearch(d.lines, offset+1)
	return line
}

// parent returns a path without its last part, a key or an index.
func parent(path string) string {
	for i := len(path) - 1; i > 0; i-- {
		if path[i] == '.' || path[i] == '[' {
			return path[:i]
		}
	}
	return ""
}

// at returns an error at an offset.
func (d *Document) at(offset int, path string, err error) *Error {
	before := d.data[:min(offset, len(d.data))]
	line := bytes.LastIndexByte(before, '\n') + 1
	return &Error{
		File: d.file, Key: path, Err: err,
		Line: bytes.Count(before, []byte("\n")) + 1, Column: utf8.RuneCount(before[line:]) + 1,
	}
}

// offsetOf returns the offset of a row and a column of bytes, both from 1.
func (d *Document) offsetOf(row, column int) int {
	offset := 0
	for range row - 1 {
		next := bytes.IndexByte(d.data[offset:], '\n')
		if next < 0 {
			break
		}
		offset += next + 1
	}
	return min(offset+max(column-1, 0), len(d.data))
}

// index finds all paths, once. Under mu.
func (d *Document) index() {
	if d.offsets != nil {
		return
	}
	d.offsets, d.lines = make(map[string]int), []int{0}
	for i, b := range d.data {
		if b == '\n' {
			d.lines = append(d.lines, i+1)
		}
	}
	sizes := make(map[string]int) // of arrays of tables
	var parser unstable.Parser
	parser.Reset(d.data)
	table := ""
	for parser.NextExpression() {
		switch node := parser.Expression(); node.Kind {
		case unstable.Table, unstable.ArrayTable:
			table = d.indexHeader(node, sizes)
		case unstable.KeyValue:
			d.indexKeyValue(table, node)
		}
	}
}

func joinPath(table, key string) string {
	if table == "" {
		return key
	}
	return table + "." + key
}

// indexHeader returns the path of the table that a header begins.
func (d *Document) indexHeader(node *unstable.Node, sizes map[string]int) (path string) {
	keys := node.Key()
	for keys.Next() {
		part := keys.Node()
		path = joinPath(path, string(part.Data))
		if node.Kind == unstable.ArrayTable && keys.IsLast() {
			sizes[path]++
		}
		if n := sizes[path]; n > 0 {
			path = indexed(path, n-1)
		}
		if keys.IsLast() {
			d.offsets[path] = int(part.Raw.Offset)
		}
	}
	return path
}

func (d *Document) indexKeyValue(path string, node *unstable.Node) {
	keys := node.Key()
	for keys.Next() {
		path = joinPath(path, string(keys.Node().Data))
		d.offsets[path] = int(keys.Node().Raw.Offset)
	}
	d.indexValue(path, node.Value())
}

func (d *Document) indexValue(path string, node *unstable.Node) {
	if node.Kind == unstable.InlineTable {
		children := node.Children()
		for children.Next() {
			d.indexKeyValue(path, children.Node())
		}
	}
	if node.Kind != unstable.Array {
		return
	}
	children := node.Children()
	for i := 0; children.Next(); i++ {
		element := indexed(path, i)
		if raw := children.Node().Raw; raw.Length > 0 {
			d.offsets[element] = int(raw.Offset)
		}
		d.indexValue(element, children.Node())
	}
}
