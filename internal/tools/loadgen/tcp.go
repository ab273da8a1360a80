package loadgen

import (
	"fmt"
	"net"
	"strings"
)

// TCP describes how TCP sends on the machine that a report was made on.
type TCP struct {
	// CongestionControl is the algorithm of a connection to the proxy. A route can
	// have another one than the system.
	CongestionControl string `json:"congestion_control"`
	// Default is net.ipv4.tcp_congestion_control.
	Default string `json:"default_congestion_control,omitempty"`
	// Qdisc is the queueing discipline of the loopback interface.
	Qdisc string `json:"loopback_qdisc,omitempty"`
	// DefaultQdisc is net.core.default_qdisc, which loopback does not follow.
	DefaultQdisc string `json:"default_qdisc,omitempty"`
}

// tcpOf returns the description of a connection, nil if it is not known.
func tcpOf(conn net.Conn) (*TCP, []string) {
	algorithm := congestionControl(conn)
	if algorithm == "" {
		return nil, nil
	}
	t := &TCP{
		CongestionControl: algorithm,
		Default:           sysctl("net/ipv4/tcp_congestion_control"),
		Qdisc:             loopbackQdisc(),
		DefaultQdisc:      sysctl("net/core/default_qdisc"),
	}
	qdisc := t.DefaultQdisc
	if remote, ok := conn.RemoteAddr().(*net.TCPAddr); ok && remote.IP.IsLoopback() {
		qdisc = t.Qdisc
	}
	return t, t.warnings(qdisc)
}

// warnings returns what makes figures unusable, for an interface with the given
// queueing discipline.
func (t *TCP) warnings(qdisc string) []string {
	if !strings.HasPrefix(t.CongestionControl, "bbr") || qdisc == "fq" {
		return nil
	}
	return []string{fmt.Sprintf("TCP uses %s without the fq qdisc: timers pace every socket, of the proxy and of the raw relay, "+
		"and ratios look better than they are; run under cubic (docs/bench.md)", t.CongestionControl)}
}

func (t *TCP) String() string {
	known := func(s string) string {
		if s == "" {
			return "unknown"
		}
		return s
	}
	return fmt.Sprintf("%s (net.ipv4.tcp_congestion_control: %s), loopback qdisc %s (net.core.default_qdisc: %s)",
		t.CongestionControl, known(t.Default), known(t.Qdisc), known(t.DefaultQdisc))
}
