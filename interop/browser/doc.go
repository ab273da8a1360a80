// Package browser tests the WebSocket client in a browser: page/ is a program for
// js/wasm, which Chromium runs against a data centre outside it. It has tests only.
package browser
