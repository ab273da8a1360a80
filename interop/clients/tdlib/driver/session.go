package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
)

// session has TDLib create an auth key, open a session and reach
// connectionStateReady. That is the state after a data centre has answered its
// calls, and the last one that a client without an account reaches. Then it goes on
// through a number of upgrades of the proxy.
//
// TDLib trusts only keys that are compiled in. So a copy of the library runs, in
// the case's own directory, in which the test server's key replaces them.
func session(ctx context.Context, library string, proxy object, upgrades int) error {
	home, err := os.Getwd()
	if err != nil {
		return err
	}
	copied := filepath.Join(home, "libtdjson.so")
	if err := copyWithKey(copied, library, os.Getenv("INTEROP_SERVER_KEY")); err != nil {
		return err
	}
	t, err := loadTDLib(copied)
	if err != nil {
		return err
	}
	for _, request := range []object{
		{
			"@type": "setTdlibParameters", "database_directory": filepath.Join(home, "td"),
			"api_id": 1, "api_hash": "00000000000000000000000000000000",
			"system_language_code": "en", "device_model": "interop", "application_version": "1",
		},
		{"@type": "setOption", "name": "localization_target", "value": object{"@type": "optionValueString", "value": "android"}},
		{"@type": "addProxy", "proxy": proxy, "enable": true},
	} {
		if err := t.send(request); err != nil {
			return err
		}
	}
	if err := awaitReady(ctx, t); err != nil {
		return err
	}
	return throughUpgrades(ctx, t, upgrades)
}

// awaitReady waits until TDLib reports connectionStateReady.
func awaitReady(ctx context.Context, t *tdjson) error {
	for {
		update, err := t.receive(ctx)
		if err != nil {
			return err
		}
		switch update["@type"] {
		case "error":
			return fmt.Errorf("TDLib: %v", update["message"])
		case "updateConnectionState":
			state, _ := update["state"].(object)
			fmt.Println(state["@type"])
			if state["@type"] == "connectionStateReady" {
				return nil
			}
		}
	}
}

// keyPattern matches the data centres' keys in the library, one for production and
// one for tests. As strings of C they end with a zero byte. A key without one is
// not a data centre's.
var keyPattern = regexp.MustCompile(`-----BEGIN RSA PUBLIC KEY-----\n[^-]{300,400}\n-----END RSA PUBLIC KEY-----\x00`)

// copyWithKey copies the library, and replaces the data centres' keys with the key
// of keyFile, which has the same length.
func copyWithKey(dst, library, keyFile string) error {
	key, err := os.ReadFile(keyFile)
	if err != nil {
		return err
	}
	key = append(bytes.TrimSpace(key), 0)
	text, err := os.ReadFile(library)
	if err != nil {
		return err
	}
	replaced := 0
	for _, at := range keyPattern.FindAllIndex(text, -1) {
		if at[1]-at[0] == len(key) {
			copy(text[at[0]:], key)
			replaced++
		}
	}
	if replaced != 2 {
		return fmt.Errorf("the library has %d public keys of data centres, want 2: adapt keyPattern", replaced)
	}
	return os.WriteFile(dst, text, 0o755)
}
