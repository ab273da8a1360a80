// Package webpage tests the page of package webproxy in Chromium, which is controlled
// by the DevTools protocol. The native half of each of Telegram's apps is imitated: what
// the app puts into the page is in native/, and what it does with frames is in
// app_test.go. It has tests only. ../browser/install installs Chromium.
package webpage
