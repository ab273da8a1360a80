package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A client that could not be installed or run, or that was not requested, is a
// line of the table and of the page, and is counted.
func TestMissingClientsAreShownAndCounted(t *testing.T) {
	dc := 2
	results := table{Rows: []row{
		{Client: "a", Version: "1", Case: "dd", Transport: "MTProxy dd", Tag: "dddddddd", DC: &dc, Hello: 1753, Request: "req_pq", Result: passed},
		{Client: "a", Version: "1", Case: "ee", Transport: "MTProxy ee", Result: failed, Reason: "no | answer"},
		{Client: "b", Result: notInstalled, Reason: "npm is down"},
		{Client: "c", Version: "2", Result: notRun, Reason: "a network namespace needs root"},
		{Client: "d", Result: notRequested, Reason: "--gui runs it"},
	}}
	if n := results.count(); n != (counts{1, 1, 1, 1, 1}) {
		t.Errorf("counted %+v", n)
	}
	var text bytes.Buffer
	if err := results.print(&text); err != nil {
		t.Fatal(err)
	}
	text.WriteString(results.summary())
	page := filepath.Join(t.TempDir(), "page.md")
	if err := results.write(page); err != nil {
		t.Fatal(err)
	}
	markdown, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"tag dddddddd, DC 2, hello 1753, req_pq", "NOT INSTALLED: npm is down", "NOT RUN: a network namespace needs root",
		"1 passed, 1 failed, 1 clients not installed, 1 clients not run, 1 clients not asked for",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, &text)
		}
		if !bytes.Contains(markdown, []byte(want)) {
			t.Errorf("the page lacks %q:\n%s", want, markdown)
		}
	}
	if !bytes.Contains(markdown, []byte(`no \| answer`)) {
		t.Errorf("a bar in a cell is not escaped:\n%s", markdown)
	}
}

// With --strict a run fails if a client could not be installed or run. A run
// without a case fails.
func TestRunWithoutCasesFailsAndStrictNeedsAllClients(t *testing.T) {
	for _, c := range []struct {
		n      counts
		strict bool
		fails  bool
	}{
		{counts{passed: 1}, false, false},
		{counts{passed: 1}, true, false},
		{counts{passed: 1, failed: 1}, false, true},
		{counts{passed: 1, notInstalled: 1}, false, false},
		{counts{passed: 1, notInstalled: 1}, true, true},
		{counts{notRun: 1}, false, false},
		{counts{notRun: 1}, true, true},
		{counts{}, false, true},
		{counts{notRequested: 1}, false, true},
		{counts{passed: 1, notRequested: 1}, true, false},
	} {
		if err := c.n.verdict(c.strict); (err != nil) != c.fails {
			t.Errorf("%+v, strict: %v: %v", c.n, c.strict, err)
		}
	}
}
