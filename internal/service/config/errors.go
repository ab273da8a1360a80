package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Error is what is wrong at one position of a file.
type Error struct {
	File         string
	Line, Column int    // from 1; a column is a character. 0 if the error is about no position
	Key          string // such as "listen[1]" or "user[3].name", from 0; "" for an error of syntax
	Err          error
}

// Error returns FILE:LINE:COLUMN: KEY: what is wrong, without credentials.
func (e *Error) Error() string {
	text := e.File
	if e.Line > 0 {
		text = fmt.Sprintf("%s:%d:%d", e.File, e.Line, e.Column)
	}
	if e.Key != "" {
		text += ": " + Redact(e.Key)
	}
	return text + ": " + Redact(e.Err.Error())
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// maxErrors limits how many errors of one file are kept.
const maxErrors = 100

// Errors are the errors of one file, in the order of their positions.
type Errors struct {
	All  []*Error
	More int // how many others there are
	// Syntax means that nothing was decoded, because the syntax is wrong.
	Syntax bool
}

// Error returns a line for each error.
func (e *Errors) Error() string {
	lines := make([]string, 0, len(e.All)+1)
	for _, err := range e.All {
		lines = append(lines, err.Error())
	}
	if e.More > 0 {
		lines = append(lines, fmt.Sprintf("and %d more errors", e.More))
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns the errors.
func (e *Errors) Unwrap() (all []error) {
	for _, err := range e.All {
		all = append(all, err)
	}
	return all
}

// Full reports whether Add only counts.
func (e *Errors) Full() bool { return len(e.All) >= maxErrors }

// Add adds an error.
func (e *Errors) Add(err *Error) {
	if e.Full() {
		e.More++
		return
	}
	e.All = append(e.All, err)
}

// Sorted returns the errors by their positions, nil if there are none.
func (e *Errors) Sorted() error {
	if len(e.All) == 0 {
		return nil
	}
	slices.SortStableFunc(e.All, func(a, b *Error) int {
		return cmp.Or(strings.Compare(a.File, b.File), a.Line-b.Line, a.Column-b.Column)
	})
	return e
}
