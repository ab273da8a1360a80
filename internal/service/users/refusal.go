package users

import "fmt"

// Cause is why a client of a user is refused.
type Cause uint8

// The causes.
const (
	Removed Cause = iota // between the client's first byte and its secret
	Disabled
	Expired
	OverConnections
	OverAddresses
	OverQuota
	OtherNetwork
	Causes = iota // their number
)

var causeNames = [Causes]string{"removed", "disabled", "expired", "connections", "addresses", "quota", "network"}

// String returns the cause in one word: "removed", "disabled", "expired",
// "connections", "addresses", "quota" or "network".
func (c Cause) String() string {
	if int(c) >= Causes {
		return "unknown"
	}
	return causeNames[c]
}

// Refusal is the error with which a client is refused, or a session is closed.
type Refusal struct {
	User  string
	Cause Cause
}

var causeTexts = [Causes]string{
	"was removed", "is disabled", "has expired", "has as many connections as it may have",
	"has as many addresses as it may have", "has used up its quota", "may not connect from this network",
}

func (r *Refusal) Error() string {
	if int(r.Cause) >= Causes {
		return fmt.Sprintf("user %s is refused", r.User)
	}
	return "user " + r.User + " " + causeTexts[r.Cause]
}
