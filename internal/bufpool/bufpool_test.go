package bufpool

import "testing"

// Above Min, a buffer is less than twice as long as requested.
func TestGetReturnsABufferOfTheRequestedSize(t *testing.T) {
	for n := 1; n <= 4*Max; n += 8191 {
		b := Get(n)
		if len(b.B) != Size(n) || len(b.B) < n || (n > Min && len(b.B) >= 2*n) {
			t.Fatalf("Get(%d) has %d bytes", n, len(b.B))
		}
		b.B = b.B[:1]
		Put(b)
	}
	for _, n := range []int{0, Min, Min + 1, 4 * Min, 4*Min + 1, Max, Max + 1} {
		if b := Get(n); len(b.B) < n || len(b.B) != Size(n) {
			t.Errorf("Get(%d) has %d bytes", n, len(b.B))
		}
	}
	Put(nil)
}
