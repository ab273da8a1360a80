package service

import "strings"

// The text of systemctl status: what the service's main process does, and why it does not do
// what an operator has asked for last.
//
// Specification: https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html

// statusPart returns what a message to systemd has besides, to set the text.
func statusPart(text, version string) string {
	return "\nSTATUS=" + oneLine(text+" "+version)
}

// oneLine returns a text without line breaks, with which a setting of a message would end.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

// notifyFailure has systemctl status tell of a reload or an upgrade that has failed, until
// one succeeds. The main process is the one that systemd takes messages of.
func (s *Service) notifyFailure(what string, err error) {
	if s.isMain() {
		s.notify("STATUS=%s", oneLine("serving; the last "+what+" has failed: "+err.Error()))
	}
}

// notifyServing undoes notifyFailure.
func (s *Service) notifyServing() {
	if s.isMain() {
		s.notify("STATUS=%s", oneLine("serving "+s.version))
	}
}
