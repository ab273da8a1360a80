package fronting

import (
	"context"
	"fmt"
	"slices"
	"time"
)

const (
	// DefaultMaxRecord is the length of a full record's body in TLS 1.3: 16384
	// bytes of data, the content type, and the tag of the cipher.
	//
	// Specification: https://www.rfc-editor.org/rfc/rfc8446#section-5.2
	DefaultMaxRecord = 1<<14 + 1 + 16

	// minMaxRecord is the least Records.Max. A site whose pages come in smaller
	// records is not imitated in that, because it would slow downloads.
	minMaxRecord = 1 << 10

	// maxRamp is the length of the longest Records.Ramp.
	maxRamp = 128

	// alertLength is the length of an alert's record body, which may end a page.
	alertLength = 2 + 1 + 16

	// maxDownload is how much of a page is read.
	maxDownload = 512 << 10

	// downloadGap is how long a page may pause.
	downloadGap = 5 * time.Second
)

// Records is how a host cuts what it sends into records, as lengths of their
// bodies. The slices are shared and must not be changed.
type Records struct {
	// Tickets are the records that the host sends after the client's Finished
	// without being asked: session tickets, and HTTP/2's SETTINGS if the client
	// offers HTTP/2, as Telegram's do.
	Tickets []int

	// Ramp are the first records of a download, if they grow up to Max.
	Ramp []int

	// Max is the length of the records after Ramp. It is DefaultMaxRecord if the
	// host was not measured, or its page is too small to tell.
	Max int
}

// Records returns how the host for domain cuts what it sends into records.
func (p *Pool) Records(domain string) Records {
	h := p.choose(domain)
	if h == nil {
		return Records{Max: DefaultMaxRecord}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.records
}

// download requests the host's front page, as far as maxDownload, and measures its
// records. It follows no redirects.
func (p *Pool) download(ctx context.Context, h *host) error {
	var page []int
	err := p.visit(ctx, h, h.newProbe(), probeTimeout, func(ctx context.Context, conn *flightConn) error {
		// HTTP/2 has frames, whose length would cut the records.
		client, err := handshake(ctx, conn, h.Domain, "http/1.1")
		if err != nil {
			return err
		}
		conn.drain(longGap, maxFlight)
		before := len(conn.records)
		_, err = fmt.Fprintf(client, "GET / HTTP/1.1\r\nHost: %s\r\nUser-Agent: Mozilla/5.0\r\nAccept: text/html,*/*\r\nConnection: close\r\n\r\n", h.Domain)
		if err != nil {
			return err
		}
		// What ends it does not matter: a part of the page is enough.
		conn.drain(downloadGap, conn.total+maxDownload)
		page = conn.records[before:]
		return nil
	})
	if err != nil {
		return err
	}
	ramp, maximum := rampOf(page)
	h.mu.Lock()
	h.records.Ramp, h.records.Max = ramp, maximum
	h.mu.Unlock()
	return nil
}

// rampOf returns the Ramp and Max of a page that came in records of these lengths.
func rampOf(page []int) (ramp []int, maximum int) {
	if n := len(page); n > 0 && page[n-1] == alertLength {
		page = page[:n-1]
	}
	maximum, known := maxOf(page)
	full := slices.IndexFunc(page, func(length int) bool { return length >= maximum })
	if full < 0 {
		full = max(0, len(page)-1) // the last record is what was left of the page
	}
	ramp = envelope(page[:full])
	grows := known || len(ramp) > 0 && ramp[0] < ramp[len(ramp)-1]
	if !grows || len(ramp) > maxRamp {
		return nil, maximum
	}
	return ramp, maximum
}

// maxOf returns the length of the records that have most of the page in them, and
// reports whether there are several. Otherwise it returns the default.
func maxOf(page []int) (maximum int, known bool) {
	bytes := make(map[int]int)
	for _, length := range page {
		if length >= minMaxRecord && length <= maxRecordBody {
			bytes[length] += length
		}
	}
	for length, n := range bytes {
		if n > length && (n > bytes[maximum] || n == bytes[maximum] && length > maximum) {
			maximum, known = length, true
		}
	}
	if !known {
		return DefaultMaxRecord, false
	}
	return maximum, true
}

// envelope returns lengths that grow, with those of shorter records replaced: they
// end where one of the host's writes ends. They get the length between those of
// their neighbours, since servers count them as records of the ramp.
func envelope(lengths []int) (grown []int) {
	last := -1 // index of the last record that was not shorter than those before
	for i, length := range lengths {
		if last >= 0 && length < lengths[last] {
			continue
		}
		for j := last + 1; j < i; j++ {
			grown = append(grown, lengths[last]+(length-lengths[last])*(j-last)/(i-last))
		}
		grown, last = append(grown, length), i
	}
	return grown
}
