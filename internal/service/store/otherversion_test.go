package store

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mtwire/mtwire/internal/service/users"
)

// ofVersion returns a file of another version.
func ofVersion(version int, kind string, payload []byte) []byte {
	line := fmt.Appendf(nil, "mtwire store %d %s %d", version, kind, len(payload))
	sum := crc32.Update(crc32.Checksum(line, castagnoli), castagnoli, payload)
	return append(fmt.Appendf(line, " %08x\n", sum), payload...)
}

// A program that takes the place of a newer one, after an upgrade that did not work out,
// leaves what that one has written as it is: users that were added must be there when the
// newer one comes back. Nothing is written to the store meanwhile, and the reason is told.
func TestAFileOfAnotherVersionStays(t *testing.T) {
	usagePayload, _ := appendUsage(nil, someUsage())
	for name, c := range map[string]struct {
		kind string
		file []byte
	}{
		"usage of a newer version":        {kindUsage, ofVersion(version+1, kindUsage, usagePayload)},
		"users of a newer version":        {kindUsers, ofVersion(version+1, kindUsers, []byte("[]"))},
		"users with a key of another one": {kindUsers, makeFile(kindUsers, []byte(`[{"name":"alice","rank":1}]`))},
		"users in an unknown time zone":   {kindUsers, makeFile(kindUsers, []byte(`[{"name":"alice","time_zone":"Mars/Base"}]`))},
		"networks with a key of another":  {kindNetworks, makeFile(kindNetworks, []byte(`{"block":[],"greet":[]}`))},
		"networks with a name":            {kindNetworks, makeFile(kindNetworks, []byte(`{"block":["site.example"]}`))},
		"networks with an empty one":      {kindNetworks, makeFile(kindNetworks, []byte(`{"allow":[""]}`))},
	} {
		t.Run(name, func(t *testing.T) {
			dir, log := t.TempDir(), new(logText)
			write(t, dir, c.kind, c.file)
			s, source := opened(t, dir, Options{Log: log.logger()})
			source.add("bob", 1, 2)
			if err := s.Flush(); err == nil || !strings.Contains(err.Error(), c.kind+" stays as it is: another version of mtwire has written it") {
				t.Errorf("error %v", err)
			}
			if status := s.Status(); status.Err == nil || len(status.Damaged) > 0 || log.count("the store is not written") != 1 {
				t.Errorf("status %+v, log %s", status, log)
			}
			keep := func(list []users.User) ([]users.User, error) { return list, nil }
			if err := s.Update(keep); !errors.Is(err, ErrUnavailable) {
				t.Errorf("an update has the error %v", err)
			}
			s.Close()
			if got, err := os.ReadFile(filepath.Join(dir, c.kind)); err != nil || !bytes.Equal(got, c.file) {
				t.Errorf("the file is %q, %v", got, err)
			}
			if names := filesIn(t, dir); len(names) != 1 {
				t.Errorf("files %v", names)
			}
			os.Remove(filepath.Join(dir, c.kind)) // by the operator, who can do without
			s, source = opened(t, dir, Options{Log: log.logger()})
			source.add("bob", 1, 2)
			flushed(t, s)
		})
	}
}
