package mtwiretest

import (
	"fmt"
	"time"

	"github.com/mtwire/mtwire"
)

// Event is a log entry of a data centre: a connection's handshake, request or end.
// In JSON it is one object.
type Event struct {
	Time   time.Time `json:"time"`
	Event  string    `json:"event"` // connected, request, refused or closed
	Remote string    `json:"remote"`

	// The transport that the client chose, if Event is connected. Tag is the tag
	// in the init payload that stands for the framing, in hexadecimal.
	Transport  string `json:"transport,omitempty"`
	Carrier    string `json:"carrier,omitempty"`
	Protocol   string `json:"protocol,omitempty"`
	Tag        string `json:"tag,omitempty"`
	DC         *int   `json:"dc,omitempty"` // nil without obfuscation
	Secret     string `json:"secret,omitempty"`
	ServerName string `json:"server_name,omitempty"`

	// The request and its answer, if Event is request. QuickAck reports whether
	// the client requested a quick acknowledgement.
	Request  string `json:"request,omitempty"`
	Bytes    int    `json:"bytes,omitempty"`
	QuickAck *bool  `json:"quick_ack,omitempty"`
	Answer   string `json:"answer,omitempty"`

	// The cause, if Event is refused, or closed other than by the client.
	Error string `json:"error,omitempty"`
}

// String formats the event as one line of text, without its time.
func (e Event) String() string {
	s := e.Remote + " " + e.Event
	switch e.Event {
	case "connected":
		s += ": " + e.Transport
		if e.Tag != "" {
			s += ", tag " + e.Tag
		}
		if e.DC != nil {
			s += ", " + mtwire.DC(*e.DC).Describe()
		}
		if e.Secret != "" {
			s += ", secret " + e.Secret
		}
		if e.ServerName != "" {
			s += ", server name " + e.ServerName
		}
	case "request":
		s += fmt.Sprintf(": %s, %d bytes", e.Request, e.Bytes)
		if e.QuickAck != nil && *e.QuickAck {
			s += ", quick ack wanted"
		}
		s += ", answered " + e.Answer
	}
	if e.Error != "" {
		s += ": " + e.Error
	}
	return s
}

// Connected returns the event of a completed handshake with transport t, without
// its time and address.
func Connected(t mtwire.Transport) Event {
	e := Event{Event: "connected", Transport: t.String(), Carrier: t.Carrier.String(), ServerName: t.ServerName}
	if t.Protocol != 0 {
		e.Protocol = t.Protocol.String()
		if tag, ok := t.Protocol.Tag(); ok {
			e.Tag = fmt.Sprintf("%x", tag)
		}
	}
	if t.Obfuscated {
		dc := int(t.DC)
		e.DC = &dc
	}
	if t.Secret >= 0 {
		e.Secret = fmt.Sprintf("#%d", t.Secret+1)
	}
	return e
}
