// Package webproxy tests package webproxy of the library against telethon-webproxy, a
// client of WEB proxies in Python. ./install installs it.
package webproxy

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/webproxy"
)

// python returns a command that runs a script with telethon-webproxy, which must be
// installed.
func python(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	packages, err := filepath.Abs(".packages")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(packages, "installed")); err != nil {
		t.Skip("telethon-webproxy is not installed: run interop/webproxy/install")
	}
	cmd := exec.CommandContext(t.Context(), "python3", args...)
	cmd.Env = append(os.Environ(), "PYTHONPATH="+packages, "PYTHONDONTWRITEBYTECODE=1")
	cmd.Stderr = t.Output()
	return cmd
}

// line is a line of frames.py.
type line struct {
	Type, Payload, Encoded   string
	Stream                   uint32
	Secret, Host, Capability string
	Frames                   []line
	Error                    string
}

func (l line) is(f webproxy.Frame) bool {
	return l.Type == f.Type.String() && l.Stream == f.Stream && l.Payload == hex.EncodeToString(f.Payload)
}

// Frames of telethon-webproxy are parsed here, and batches of ours there, as the
// frames that they are. Capabilities are the same. What it refuses is refused here.
func TestFramesAreTheSameAsTelethons(t *testing.T) {
	cmd := python(t, "frames.py", "1")
	var out bytes.Buffer
	cmd.Stdout = &out
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	batches := make([][]byte, 300)
	for i := range batches {
		batches[i] = randomBatch(r)
		if i%3 == 2 { // and one that is cut
			batches[i] = batches[i][:r.IntN(len(batches[i]))]
		}
		if _, err := io.WriteString(in, hex.EncodeToString(batches[i])+"\n"); err != nil {
			t.Fatal(err)
		}
	}
	in.Close()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	lines := json.NewDecoder(&out)
	frames, capabilities, refused := 0, 0, 0
	for next(t, lines, func(l line) bool {
		switch {
		case l.Encoded != "":
			b, _ := hex.DecodeString(l.Encoded)
			f, rest, err := webproxy.ParseFrame(b)
			if err != nil || len(rest) > 0 || !l.is(f) || !bytes.Equal(f.Append(nil), b) {
				t.Errorf("%.100s: %v of stream %d, %v", l.Encoded, f.Type, f.Stream, err)
			}
			frames++
		case l.Capability != "":
			secret, err := mtproxy.ParseSecret(l.Secret)
			got := webproxy.DeriveCapability(secret, l.Host, "")
			if err != nil || got.String() != l.Capability {
				t.Errorf("%s, %s: capability %v, want %s", l.Secret, l.Host, got, l.Capability)
			}
			capabilities++
		}
		return l.Encoded != "" || l.Capability != ""
	}) {
	}
	for _, b := range batches {
		next(t, lines, func(l line) bool {
			err := webproxy.CheckBatch(b)
			got := slices.Collect(webproxy.Frames(b))
			switch {
			case l.Error != "":
				refused++
				if err == nil {
					t.Errorf("%.100x is accepted; telethon-webproxy: %s", b, l.Error)
				}
			case err != nil || !slices.EqualFunc(l.Frames, got, line.is):
				t.Errorf("%.100x: %d frames, %v; telethon-webproxy has %d", b, len(got), err, len(l.Frames))
			}
			return true
		})
	}
	if frames != 200 || capabilities != 20 || refused == 0 {
		t.Errorf("%d frames, %d capabilities, %d batches refused", frames, capabilities, refused)
	}
}

// next decodes a line and returns the result of f.
func next(t *testing.T, lines *json.Decoder, f func(line) bool) bool {
	t.Helper()
	var l line
	if err := lines.Decode(&l); err != nil {
		t.Fatal(err)
	}
	return f(l)
}

// randomBatch returns a batch of up to 20 frames, which the library has encoded.
func randomBatch(r *rand.Rand) (b []byte) {
	random := func(n int) []byte {
		p := make([]byte, n)
		for i := range p {
			p[i] = byte(r.Uint32())
		}
		return p
	}
	for range 1 + r.IntN(20) {
		id := 1 + r.Uint32N(webproxy.MaxStream)
		b = [...]webproxy.Frame{
			{Type: webproxy.OpenFrame, Stream: id},
			{Type: webproxy.DataFrame, Stream: id, Payload: random(1 + r.IntN(500))},
			{Type: webproxy.CloseFrame, Stream: id},
			{Type: webproxy.WindowFrame, Stream: id, Payload: append(random(3), 1)},
			{Type: webproxy.PingFrame, Payload: random(r.IntN(65))},
			{Type: webproxy.PongFrame, Payload: random(r.IntN(65))},
			{Type: webproxy.ByeFrame, Payload: random(r.IntN(65))},
			{Type: webproxy.WelcomeFrame},
			{Type: webproxy.HelloFrame, Payload: []byte{1}},
		}[r.IntN(9)].Append(b)
	}
	return b
}
