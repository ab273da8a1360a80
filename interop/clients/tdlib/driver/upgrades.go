package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"strings"
)

// The languages of the test server: clients/README.md documents them.
const (
	promptLanguage    = "en"
	heldLanguage      = "held"
	releasingLanguage = "release"
)

const (
	// stringRepeats is the number of times that a string of the test server has its key.
	stringRepeats = 1000
	// burst is the number of requests at a time, and burstKeys the number of keys of each:
	// TDLib would compress a longer request, in a format that the test server does not know.
	// Their answers have 1.5 MiB.
	burst     = 20
	burstKeys = 3
	// keyLength is the length of a key.
	keyLength = 26
)

// stringCalls are calls of getLanguagePackStrings, for which TDLib needs no account, and
// which have TDLib call langpack.getStrings for keys that it does not know.
type stringCalls struct {
	*tdjson
	answers map[string]object // by @extra, of those for which no call waits
	calls   int               // that were answered during upgrades
	bytes   int               // of their strings
}

// throughUpgrades asks the runner for upgrades. During each a request is in flight, and
// during all but the first others are made back to back.
func throughUpgrades(ctx context.Context, t *tdjson, upgrades int) error {
	if upgrades == 0 {
		return nil
	}
	s := &stringCalls{tdjson: t, answers: map[string]object{}}
	runner := make(chan string)
	go func() {
		defer close(runner)
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			runner <- lines.Text()
		}
	}()
	for i := range upgrades {
		if err := s.during(ctx, runner, i > 0); err != nil {
			return err
		}
	}
	fmt.Printf("note: %d calls and %d KiB during %d upgrades\n", s.calls, s.bytes>>10, upgrades)
	return nil
}

// during asks for an upgrade, and returns when it is over and all requests are answered. If
// busy is true, it makes others meanwhile.
func (s *stringCalls) during(ctx context.Context, runner <-chan string, busy bool) error {
	inFlight := newKeys(1)
	held, err := s.request(heldLanguage, inFlight)
	if err != nil {
		return err
	}
	if err := s.get(ctx, promptLanguage, 1); err != nil { // the data centre has the one before by then
		return err
	}
	fmt.Println("upgrade")
	if err := s.untilUpgraded(ctx, runner, busy); err != nil {
		return err
	}
	if s.answers[held] != nil {
		return fmt.Errorf("the request in flight has ended too early: %v", s.answers[held])
	}
	if err := s.get(ctx, releasingLanguage, 1); err != nil {
		return err
	}
	if err := s.await(ctx, held, inFlight); err != nil {
		return fmt.Errorf("the request in flight: %w", err)
	}
	return s.getBurst(ctx)
}

// untilUpgraded waits for the runner's answer. If busy is true, it makes requests meanwhile.
func (s *stringCalls) untilUpgraded(ctx context.Context, runner <-chan string, busy bool) error {
	for answer := ""; ; {
		if busy {
			select {
			case answer = <-runner:
			default:
				if err := s.getBurst(ctx); err != nil {
					return err
				}
				s.calls += burst
				s.bytes += burst * burstKeys * stringRepeats * keyLength
				continue
			}
		} else {
			answer = <-runner
		}
		if answer != "upgraded" {
			return fmt.Errorf("the runner's answer is %q", answer)
		}
		return nil
	}
}

// getBurst makes requests, all before the answer to the first.
func (s *stringCalls) getBurst(ctx context.Context) error {
	var extras []string
	var keys [][]string
	for i := range burst {
		keys = append(keys, newKeys(burstKeys))
		extra, err := s.request(promptLanguage, keys[i])
		if err != nil {
			return err
		}
		extras = append(extras, extra)
	}
	for i, extra := range extras {
		if err := s.await(ctx, extra, keys[i]); err != nil {
			return err
		}
	}
	return nil
}

// get requests strings for a number of new keys, and waits for them.
func (s *stringCalls) get(ctx context.Context, language string, number int) error {
	keys := newKeys(number)
	extra, err := s.request(language, keys)
	if err != nil {
		return err
	}
	return s.await(ctx, extra, keys)
}

// newKeys returns keys that TDLib does not know.
func newKeys(number int) (keys []string) {
	for range number {
		keys = append(keys, rand.Text())
	}
	return keys
}

// request requests strings. Their answer has the @extra that it returns.
func (s *stringCalls) request(language string, keys []string) (extra string, err error) {
	return keys[0], s.send(object{
		"@type": "getLanguagePackStrings", "@extra": keys[0],
		"language_pack_id": language, "keys": keys,
	})
}

// await waits for the answer with that @extra, which must have the strings of these keys.
func (s *stringCalls) await(ctx context.Context, extra string, keys []string) error {
	for s.answers[extra] == nil {
		answer, err := s.receive(ctx)
		if err != nil {
			return err
		}
		if other, ok := answer["@extra"].(string); ok {
			s.answers[other] = answer
		}
	}
	answer := s.answers[extra]
	delete(s.answers, extra)
	got, _ := answer["strings"].([]any)
	if answer["@type"] != "languagePackStrings" || len(got) != len(keys) {
		return fmt.Errorf("getLanguagePackStrings of %d keys: %.300v", len(keys), answer)
	}
	values := map[any]any{}
	for _, text := range got {
		if entry, ok := text.(object); ok {
			value, _ := entry["value"].(object)
			values[entry["key"]] = value["value"]
		}
	}
	for _, key := range keys {
		if values[key] != strings.Repeat(key, stringRepeats) {
			return fmt.Errorf("the answer belongs to another request: for %s it has %.300v", key, values[key])
		}
	}
	return nil
}
