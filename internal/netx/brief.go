package netx

import "strings"

// maxBriefText is the length of a Brief error's text, in bytes.
const maxBriefText = 200

// Brief returns err with a text of at most 200 bytes and an ellipsis: the errors of package
// http quote what a peer has sent, which may be thousands of bytes in every line of a log.
func Brief(err error) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	if len(text) <= maxBriefText {
		return err
	}
	return &briefError{err, BriefText(text)}
}

// BriefText returns the first 200 bytes of a text, with an ellipsis if there are more.
func BriefText(text string) string {
	if len(text) <= maxBriefText {
		return text
	}
	return strings.ToValidUTF8(text[:maxBriefText], "") + "…"
}

// briefError is an error with a shorter text.
type briefError struct {
	err  error
	text string
}

func (e *briefError) Error() string { return e.text }

func (e *briefError) Unwrap() error { return e.err }
