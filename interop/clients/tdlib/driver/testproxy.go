package main

import (
	"context"
	"fmt"
	"strings"
)

// fingerprint is that of the key which "mtwire dc" says it has, as TDLib
// writes it. TDLib does not know the key of test servers as one for data
// centres of production, and that is how an answer of ours shows.
const fingerprint = "-5595554452916591101"

// testProxy lets TDLib connect to a data centre through a proxy, up to its
// first answer. It needs no account and makes no other connection.
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
			return fmt.Errorf("TDLib does not name our key: %v", answer)
		}
		return nil
	}
}
