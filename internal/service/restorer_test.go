package service

import (
	"testing"

	"github.com/mtwire/mtwire/internal/service/users"
)

// Whatever state the process before sends, this one begins: what it cannot read is left out.
func FuzzRestoredState(f *testing.F) {
	for part, elements := range map[string][]string{
		levelPart:     {`"DEBUG"`, `-4`, `{}`},
		ratePart:      {`{"network":"192.0.2.1/32","tokens":0.5}`, `{"network":"::/200","tokens":-1}`, `{"tokens":1e308}`},
		userPart:      {`{"user":"alice","sessions":1,"counter":{"user":"alice","up":-5},"bytes":12,"used":12}`, `{"user":"` + string(make([]byte, 3)) + `"}`},
		counterPart:   {`{"name":"mtwire_bytes_total","labels":{},"value":-1}`, `{"name":"mtwire_dial_duration_seconds","count":18446744073709551615,"sum":1e400,"buckets":[{"le":1,"count":2}]}`},
		socketPart:    {`{"use":1,"address":":443","device":1,"inode":18446744073709551615}`},
		"front":       {`{"domain":"a.example","tickets":[-1],"ramp":[9223372036854775807],"max":-1,"patience":-1}`, `{"domain":"","answers":"AA==","hello":{"browser":true}}`},
		"upstream":    {`{"upstream":"AAAA","address":"","answers":true,"dc":-32768,"health":{"failures":-1,"last":9223372036854775807,"until":-9223372036854775808}}`},
		"data_center": {`{"dc":2,"state":9,"cause":"x","since":-1,"sessions":-1,"heard":-9223372036854775808}`},
		"address":     {`{"address":"192.0.2.1","secrets":["AAAAAAAAAAAAAAAAAAAAAA=="]}`, `{"address":"","secrets":null}`},
		"unknown":     {`[]`, `null`},
	} {
		for _, element := range elements {
			f.Add(part, []byte(element))
		}
	}
	config := testConfig(f)
	config.Admin = []AdminAddress{{Network: "tcp", Address: "127.0.0.1:0"}}
	config.MaxUnauthenticatedRate = 10
	f.Setenv("MTWIRE_ADMIN_TOKEN", "0123456789abcdef0123456789abcdef")
	s, err := New(config, discard)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(s.Close)
	r := &restorer{service: s, proxy: s.proxy.Restorer(), usage: make(map[string]users.Counter)}
	f.Fuzz(func(t *testing.T, part string, element []byte) { r.add(part, element) })
}
