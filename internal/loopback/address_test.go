package loopback

import (
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// Several processes get addresses at the same time, and none gets that of another one, or
// the same twice. The ports in use are passed over.
func TestFreeAddressesAreFreeInAllProcesses(t *testing.T) {
	const own = "LOOPBACK_ADDRESSES"
	const each = blockSize + blockSize/2 // more than a block has
	if os.Getenv(own) != "" {
		for range each {
			address, err := FreeAddress()
			if err != nil {
				t.Fatal(err)
			}
			os.Stdout.WriteString("address " + address + "\n")
		}
		os.Stdin.Read(make([]byte, 1)) // the addresses are this process's until it ends
		return
	}
	seen := make(map[string]bool)
	for range 3 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestFreeAddressesAreFreeInAllProcesses$")
		cmd.Env = append(os.Environ(), own+"=1")
		stdin, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			stdin.Close()
			cmd.Wait()
		})
		buf := make([]byte, 64<<10)
		var text string
		for strings.Count(text, "\n") < each {
			n, err := stdout.Read(buf)
			if err != nil {
				t.Fatalf("%q, %v", text, err)
			}
			text += string(buf[:n])
		}
		for line := range strings.Lines(text) {
			address, ok := strings.CutPrefix(strings.TrimSpace(line), "address ")
			if !ok {
				continue
			}
			if seen[address] {
				t.Errorf("%s is returned twice", address)
			}
			seen[address] = true
		}
	}
	if len(seen) != 3*each {
		t.Errorf("%d addresses, want %d", len(seen), 3*each)
	}
	first, err := FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	block.Lock()
	inUse := block.next
	block.Unlock()
	if ln, err := listenAt(inUse); err == nil {
		defer ln.Close()
	}
	second, err := FreeAddress()
	if _, port, _ := net.SplitHostPort(second); err != nil || second == first || seen[second] || port == "" {
		t.Errorf("%s after %s, %v", second, first, err)
	}
	ln, err := net.Listen("tcp", second)
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
}
