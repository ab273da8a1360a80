package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/mtwire/mtwire"
)

// bulkSize is as long as an encrypted message can be: 16 times something and 8.
const bulkSize = 200_008

// bulkPacket returns a packet that differs for each number.
func bulkPacket(n int) []byte {
	b := make([]byte, bulkSize)
	block := sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(n)))
	for i := 0; i < len(b); i += len(block) {
		copy(b[i:], block[:])
		block[0]++
	}
	return b
}

// bulkMark is a packet that is not one of the bulk. It may come with padding behind it.
var bulkMark = bytes.Repeat([]byte{1}, 40)

func isMark(p mtwire.Packet) bool { return len(p.Payload) < bulkSize/2 }

// startOneWay starts a data centre, and returns its address. It answers a client's first mark.
// After another one it sends bulk packets until it receives a third, and then a mark. After
// bulk packets of a client it answers the mark with the sum.
func startOneWay(t *testing.T) string {
	t.Helper()
	ln, err := mtwire.Listen("tcp", "127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	go ln.Serve(t.Context(), func(ctx context.Context, conn *mtwire.Conn) {
		if conn.Handshake(ctx) != nil {
			return
		}
		if _, err := conn.Receive(ctx); err != nil || conn.Send(ctx, bulkMark) != nil {
			return
		}
		sum, n := sha256.New(), 0
		for ; ; n++ {
			p, err := conn.Receive(ctx)
			if err != nil {
				return
			}
			if isMark(p) {
				break
			}
			sum.Write(p.Payload[:bulkSize])
		}
		if n > 0 {
			conn.Send(ctx, sum.Sum(bulkMark[:8:8]))
			conn.Receive(ctx)
			return
		}
		stop := make(chan struct{})
		go func() {
			defer close(stop)
			conn.Receive(ctx)
		}()
		for i := 0; ; i++ {
			select {
			case <-stop:
				conn.Send(ctx, bulkMark)
				conn.Receive(ctx)
				return
			default:
			}
			if conn.Send(ctx, bulkPacket(i)) != nil {
				return
			}
		}
	})
	return ln.Addr().String()
}

// upload sends bulk packets, until enough ends, and compares the sum that the data centre has
// received.
func upload(ctx, enough context.Context, conn *mtwire.Conn) error {
	sum := sha256.New()
	for i := 0; enough.Err() == nil; i++ {
		b := bulkPacket(i)
		sum.Write(b)
		if err := conn.Send(ctx, b); err != nil {
			return fmt.Errorf("packet %d: %w", i, err)
		}
	}
	if err := conn.Send(ctx, bulkMark); err != nil {
		return err
	}
	p, err := conn.Receive(ctx)
	if err == nil && !bytes.HasPrefix(p.Payload, sum.Sum(bulkMark[:8:8])) {
		err = errors.New("the data centre has received other bytes")
	}
	return err
}

// download receives bulk packets, until some time after enough has ended.
func download(ctx, enough context.Context, conn *mtwire.Conn) error {
	if err := conn.Send(ctx, bulkMark); err != nil {
		return err
	}
	defer context.AfterFunc(enough, func() { conn.Send(ctx, bulkMark) })()
	for i := 0; ; i++ {
		p, err := conn.Receive(ctx)
		switch {
		case err == nil && isMark(p):
			return nil
		case err == nil && !bytes.HasPrefix(p.Payload, bulkPacket(i)):
			err = errors.New("other bytes")
		}
		if err != nil {
			return fmt.Errorf("packet %d: %w", i, err)
		}
	}
}

// Sessions that move bytes in one direction alone, as fast as they can, move without a byte
// lost, doubled or reordered, in all modes.
func TestUpgradeKeepsOneWayTransfers(t *testing.T) {
	t.Parallel()
	u := startUpgraded(t, patient, "--probe=false", "--dc", "5="+startOneWay(t))
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	enough, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	for _, query := range upgradeModes {
		for name, transfer := range map[string]func(ctx, enough context.Context, conn *mtwire.Conn) error{"upload": upload, "download": download} {
			conn, err := mtwire.Dial(ctx, "tcp://"+u.address+"?dc=5&"+query, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if err := conn.Send(ctx, bulkMark); err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Receive(ctx); err != nil {
				t.Fatal(err)
			}
			running.Go(func() {
				if err := transfer(ctx, enough, conn); err != nil {
					t.Errorf("%s, %s: %v", query, name, err)
				}
			})
		}
	}
	for i := range 2 {
		u.takeOver(t)
		if moved := u.takeovers(t)[i]; moved[2] != "8" {
			t.Errorf("upgrade %d: %q: not all sessions have moved", i, moved)
		}
	}
	stop()
	running.Wait()
}
