package users

import "time"

// Counter is what outlives a run of a user's usage. Bytes are without record headers.
type Counter struct {
	Name string
	// Up and Down are the bytes of the quota's period, and TotalUp and TotalDown those
	// since the user's first connection or the last reset.
	Up, Down, TotalUp, TotalDown int64
	// Schedule identifies the quota's periods, and Period the one that Up and Down
	// belong to, by its first day: see Quota.
	Schedule string
	Period   Day
	// Seen is when a client was authenticated last, in Unix seconds; 0 means never.
	Seen int64
}

// Usage is a user's usage at one time.
type Usage struct {
	Counter
	// Connections and Addresses are how many there are now. Addresses include those
	// that still count: see Limits.MaxAddresses.
	Connections, Addresses int
	// Refused is how many clients were refused since the start, by Cause.
	Refused [Causes]int64
	// Resets is when the quota begins anew, the zero time for never.
	Resets time.Time
}
