package main

import (
	"context"
	"fmt"
	"strings"
)

// fingerprint is the key fingerprint in the answer of "mtwire dc", as TDLib prints
// it. It is the key of Telegram's test servers, which TDLib does not accept from a
// production data centre: its error proves that TDLib got the answer.
const fingerprint = "-5595554452916591101"

// testProxy has TDLib connect to a data centre through a proxy, up to its first
// answer. It needs no account and opens no other connection.
func testProxy(ctx context.Context, library string, proxy object, dc int) error {
	t, err := loadTDLib(library)
	if err != nil {
		return err
	}
	request := object{"@type": "testProxy", "proxy": proxy, "dc_id": dc, "timeout": 20, "@extra": "test"}
	if err := t.send(request); err != nil {
		return err
	}
	for {
		answer, err := t.receive(ctx)
		if err != nil {
			return err
		}
		if answer["@extra"] != "test" {
			continue
		}
		text, _ := answer["message"].(string)
		fmt.Println(answer)
		if !strings.Contains(text, fingerprint) {
			return fmt.Errorf("TDLib's error does not name the fingerprint: %v", answer)
		}
		return nil
	}
}
