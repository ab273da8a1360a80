//go:build !js

package wsconn

import "testing"

// frameCursor and frameLength agree with frames written by hand.
func TestFrameCursorFindsBoundaries(t *testing.T) {
	for _, masked := range []bool{false, true} {
		for _, n := range []int{0, 1, 125, 126, 65535, 65536, 70000} {
			b := frameOf(n, masked)
			if len(b) != frameLength(n, masked) {
				t.Fatalf("frameLength(%d, %v) = %d, want %d", n, masked, frameLength(n, masked), len(b))
			}
			b = append(b, b...)
			for _, step := range []int{1, 3, 4096} {
				var c frameCursor
				for i := 0; i < len(b); i += step {
					c.advance(b[i:min(i+step, len(b))])
					end := min(i+step, len(b))
					if want := end%(len(b)/2) == 0; c.atBoundary() != want {
						t.Fatalf("n %d, masked %v, step %d: boundary at %d: %v", n, masked, step, end, !want)
					}
				}
			}
		}
	}
}

func frameOf(n int, masked bool) []byte {
	b := []byte{0x82}
	switch {
	case n > 0xffff:
		b = append(b, 127, 0, 0, 0, 0, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	case n > 125:
		b = append(b, 126, byte(n>>8), byte(n))
	default:
		b = append(b, byte(n))
	}
	if masked {
		b[1] |= 0x80
		b = append(b, 0, 0, 0, 0)
	}
	return append(b, make([]byte, n)...)
}
