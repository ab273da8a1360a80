package service

import (
	"fmt"
	"slices"
	"strings"

	"github.com/mtwire/mtwire/internal/service/users"
)

// stoppedTexts are the causes for which no client of a user is served, for one user and for
// several.
var stoppedTexts = []struct {
	cause     users.Cause
	one, some string
}{
	{users.Disabled, "is disabled", "are disabled"},
	{users.Expired, "has expired", "have expired"},
	{users.OverQuota, "has used up its quota", "have used up their quotas"},
}

// noteStopped returns a sentence for each cause for which users are not served now. A user
// whose name is there several times is named once.
func noteStopped(policy *users.Policy, names []string) (notes []string) {
	var stopped [users.Causes][]string
	for _, name := range names {
		cause, stops := policy.Stops(name)
		if list := stopped[cause]; stops && (len(list) == 0 || list[len(list)-1] != name) {
			stopped[cause] = append(list, name)
		}
	}
	for _, text := range stoppedTexts {
		switch list := stopped[text.cause]; len(list) {
		case 0:
		case 1:
			notes = append(notes, fmt.Sprintf("user %s %s: its clients are not served", list[0], text.one))
		default:
			notes = append(notes, fmt.Sprintf("users %s %s: their clients are not served", someOf(list), text.some))
		}
	}
	return notes
}

// someOf returns the first of many names as a text, and how many more there are.
func someOf(names []string) string {
	const most = 3
	text := strings.Join(names[:min(most, len(names))], ", ")
	if more := len(names) - most; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// policyWithoutProxy returns the users of s with their usage as it was last written: the
// proxy, if it runs, is another process.
func (s *Service) policyWithoutProxy() *users.Policy {
	config := users.Config{Log: s.log, Time: wallClock}
	if slices.ContainsFunc(s.limited, func(u users.User) bool { return u.Quota.Bytes > 0 }) {
		config.Counters = s.config.readCounters(s.log)
	}
	policy := users.New(config)
	policy.Set(s.limited)
	return policy
}
