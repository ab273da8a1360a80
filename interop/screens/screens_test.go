// Package screens tests that the QR codes of mtwire can be read from the screen of a
// terminal, and from files, by readers that share no code with mtwire: gozxing, and
// zbarimg if it is installed, which ./install does.
package screens

import (
	"bytes"
	"fmt"
	"image"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/makiuchi-d/gozxing"
	"github.com/makiuchi-d/gozxing/qrcode"
	"github.com/mtwire/mtwire/mtproxy"
	"golang.org/x/sys/unix"
)

// build builds mtwire.
func build(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "mtwire")
	cmd := exec.Command("go", "-C", "../..", "build", "-o", binary, "./cmd/mtwire")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return binary
}

// terminal returns both ends of a pseudo-terminal of that size.
func terminal(t *testing.T, width, height int) (near, far *os.File) {
	t.Helper()
	near, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close() })
	number, err := unix.IoctlGetInt(int(near.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(near.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(int(near.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: uint16(width), Row: uint16(height)}); err != nil {
		t.Fatal(err)
	}
	if far, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	return near, far
}

// show runs mtwire in a terminal of that size, until it has printed a link to server or
// ends, and returns what the terminal received.
func show(t *testing.T, width, height int, env []string, server, binary string, args ...string) string {
	t.Helper()
	near, far := terminal(t, width, height)
	cmd := exec.Command(binary, args...)
	cmd.Stdout, cmd.Stderr = far, far
	cmd.Env = append([]string{"TERM=xterm-256color", "STATE_DIRECTORY=" + t.TempDir()}, env...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	far.Close()
	var shown []byte
	for buffer := make([]byte, 4096); ; {
		n, err := near.Read(buffer)
		shown = append(shown, buffer[:n]...)
		at := bytes.Index(shown, []byte("server="+server))
		if err != nil || at >= 0 && bytes.Contains(shown[at:], []byte("\n")) {
			break
		}
	}
	if args[0] == "proxy" { // which serves on
		cmd.Process.Signal(os.Interrupt)
	}
	go func() { // what is printed at the end must not block the process
		for buffer := make([]byte, 4096); ; {
			if _, err := near.Read(buffer); err != nil {
				return
			}
		}
	}()
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v\n%q", err, shown)
	}
	return string(shown)
}

// read returns the text of the QR code in a picture, as all readers read it.
func read(t *testing.T, picture image.Image) string {
	t.Helper()
	bitmap, err := gozxing.NewBinaryBitmapFromImage(picture)
	if err != nil {
		t.Fatal(err)
	}
	hints := map[gozxing.DecodeHintType]any{gozxing.DecodeHintType_TRY_HARDER: true}
	result, err := qrcode.NewQRCodeReader().Decode(bitmap, hints)
	if err != nil {
		t.Errorf("gozxing: %v", err)
		return ""
	}
	if zbarimg, err := exec.LookPath("zbarimg"); err == nil {
		file := filepath.Join(t.TempDir(), "picture.png")
		var encoded bytes.Buffer
		if err := png.Encode(&encoded, picture); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, encoded.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(zbarimg, "--quiet", "--raw", file).Output()
		if got := strings.TrimSpace(string(out)); err != nil || got != result.GetText() {
			t.Errorf("zbarimg reads %q, %v; gozxing %q", got, err, result.GetText())
		}
	} else {
		t.Logf("NOT RUN: zbarimg: %v", err)
	}
	return result.GetText()
}

const server = "198.51.100.70"

// The first run shows a QR code and the link below it on a terminal of 80 columns and
// 24 lines, dark or light, and both are the same link.
func TestFirstRunFitsAScreen(t *testing.T) {
	binary := build(t)
	for name, theme := range themes {
		t.Run(name, func(t *testing.T) {
			shown := show(t, 80, 24, []string{"LANG=C.UTF-8"}, server, binary,
				"proxy", "--listen", "127.0.0.1:0", "--public", server+":8443", "--front", "127.0.0.1:1", "--dc", "*=127.0.0.1:1")
			if tried := strings.Index(shown, "no data centre answers"); tried < 0 || tried > strings.Index(shown, "tg://") {
				t.Errorf("the result for data centres is not above the link:\n%s", shown)
			}
			s := newScreen(80, 24, theme)
			s.write(shown, "UTF-8")
			code, err := mtproxy.ParseLink(read(t, s.picture()))
			if err != nil {
				t.Fatalf("%v\n%s", err, s.text())
			}
			at := strings.LastIndex(s.text(), "tg://proxy?")
			if at < 0 {
				t.Fatal(s.text())
			}
			text, err := mtproxy.ParseLink(strings.Fields(s.text()[at:])[0])
			if err != nil || text != code || text.Addr() != server+":8443" || text.Secret.Mode != mtproxy.FakeTLS {
				t.Errorf("the link is %v, %v; the QR code %v", text, err, code)
			}
		})
	}
}

// Every drawing can be read: in Unicode and ISO 8859-1, without colours on a dark
// terminal, with short and long links.
func TestDrawingsCanBeRead(t *testing.T) {
	binary := build(t)
	for _, link := range []string{
		"tg://proxy?server=198.51.100.70&port=8443&secret=000102030405060708090a0b0c0d0e0f",
		"tg://proxy?server=2001%3Adb8%3A%3A1&port=443&secret=dd000102030405060708090a0b0c0d0e0f",
		"tg://proxy?server=proxy.example.com&port=443&secret=ee000102030405060708090a0b0c0d0e0f" + strings.Repeat("61", 182),
	} {
		want, err := mtproxy.ParseLink(link)
		if err != nil {
			t.Fatal(err)
		}
		for _, test := range []struct{ charset, env, when, theme string }{
			{"UTF-8", "LANG=C.UTF-8", "auto", "dark"},
			{"UTF-8", "LANG=C.UTF-8", "auto", "light"},
			{"ISO-8859-1", "LANG=de_DE.ISO-8859-1", "auto", "dark"},
			{"ISO-8859-1", "LANG=de_DE.ISO-8859-1", "auto", "light"},
			{"UTF-8", "NO_COLOR=1", "always", "dark"},
		} {
			shown := show(t, 200, 110, []string{test.env}, strings.Split(strings.Split(link, "server=")[1], "&")[0], binary, "link", "show", "--qr", test.when, link)
			s := newScreen(200, 110, themes[test.theme])
			s.write(shown, test.charset)
			if got, err := mtproxy.ParseLink(read(t, s.picture())); err != nil || got != want {
				t.Errorf("%+v: %v, %v, want %v", test, got, err, want)
			}
		}
	}
}

// A file has the code as well.
func TestFilesCanBeRead(t *testing.T) {
	binary, file := build(t), filepath.Join(t.TempDir(), "code.png")
	const link = "tg://proxy?server=198.51.100.70&port=8443&secret=ee000102030405060708090a0b0c0d0e0f7777772e6578616d706c652e636f6d"
	if out, err := exec.Command(binary, "link", "show", link, "--qr", file).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	picture, err := png.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	want, _ := mtproxy.ParseLink(link)
	if got, err := mtproxy.ParseLink(read(t, picture)); err != nil || got != want {
		t.Errorf("%v, %v", got, err)
	}
}
