//go:build linux

package webproxy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

const downloadSize = 64 << 20

// cpu returns the processor time of the process.
func cpu() time.Duration {
	var usage syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// BenchmarkDownload moves bytes from a relay through each carrier, and in turns with
// that the same bytes from package http's HTTPS server. The client is another
// process. "ratio" is the processor time of the relay by that of the server.
func BenchmarkDownload(b *testing.B) {
	for _, carrier := range carriers {
		b.Run(carrier.String(), func(b *testing.B) {
			piece := make([]byte, 64<<10)
			site := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				for range downloadSize / len(piece) {
					w.Write(piece)
				}
			})
			relay := newRelay(b, carrier, carrier == HTTPSLanes, func(c *ServerConfig) { c.Site = site })
			turn := downloader(b, relay)
			conn, err := relay.Accept()
			if err != nil {
				b.Fatal(err)
			}
			var ours, plain time.Duration
			b.SetBytes(downloadSize)
			for b.Loop() {
				ours += turn("stream", func() {
					for range downloadSize / len(piece) {
						conn.Write(piece)
					}
				})
				plain += turn("site", func() {})
			}
			b.ReportMetric(float64(ours)/float64(plain), "ratio")
		})
	}
}

// downloader starts the client's process, and returns a function that makes it
// download one of the two and returns the processor time of this process.
func downloader(b *testing.B, relay *relay) func(what string, send func()) time.Duration {
	b.Helper()
	cmd := exec.CommandContext(b.Context(), os.Args[0], "-test.run=^TestDownloadClient$")
	cmd.Env = append(os.Environ(), "WEBPROXY_DOWNLOAD="+relay.web.Listener.Addr().String())
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		in.Close()
		cmd.Wait()
	})
	answers := bufio.NewReader(out)
	return func(what string, send func()) time.Duration {
		start := cpu()
		fmt.Fprintln(in, what)
		send()
		if line, err := answers.ReadString('\n'); err != nil || line != "done\n" {
			b.Fatal(line, err)
		}
		return cpu() - start
	}
}

// TestDownloadClient is the client's process of the benchmark.
func TestDownloadClient(t *testing.T) {
	address := os.Getenv("WEBPROXY_DOWNLOAD")
	if address == "" {
		return
	}
	link := Link{Host: testHost, Path: "some/path", Secret: mustSecret(t, countingHex)}
	client, err := Dial(t.Context(), link, remote(address))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := client.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var from io.Reader = conn
		if strings.TrimSpace(lines.Text()) == "site" {
			r, _ := http.NewRequestWithContext(context.Background(), http.MethodGet, "https://"+testHost+"/", nil)
			resp, err := client.http.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			from = resp.Body
		}
		if _, err := io.CopyN(io.Discard, from, downloadSize); err != nil {
			t.Fatal(err)
		}
		fmt.Println("done")
	}
	os.Exit(0)
}
