package loadgen

import (
	"net"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// The report has the congestion control of the connection to the proxy, and the
// qdisc of loopback, which has none unless an operator has added one.
func TestReportDescribesTCP(t *testing.T) {
	dc := startDataCenter(t)
	plan := smallPlan(dc, direct(dc.Addr()))
	plan.Phases = []Phase{PhaseLatency}
	var progress []string
	plan.Progress = func(line string) { progress = append(progress, line) }
	report, err := Run(testContext(t), plan)
	if err != nil {
		t.Fatal(err)
	}
	got := report.TCP
	if got == nil || got.Qdisc == "" || got.Default != sysctl("net/ipv4/tcp_congestion_control") ||
		!slices.Contains(strings.Fields(sysctl("net/ipv4/tcp_available_congestion_control")), got.CongestionControl) {
		t.Errorf("%+v", got)
	}
	warned := strings.HasPrefix(got.CongestionControl, "bbr") && got.Qdisc != "fq"
	if (len(report.Warnings) > 0) != warned {
		t.Errorf("%+v: %q", got, report.Warnings)
	}
	for i, warning := range report.Warnings {
		if progress[i] != "warning: "+warning {
			t.Errorf("progress %q", progress)
		}
	}
}

// What a connection uses is reported, not what the system's default is.
func TestCongestionControlIsTheConnections(t *testing.T) {
	ln := listen(t)
	defer ln.Close()
	for _, algorithm := range strings.Fields(sysctl("net/ipv4/tcp_available_congestion_control")) {
		conn, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if err := setCongestionControl(conn, algorithm); err != nil {
			t.Logf("%s: %v", algorithm, err) // it takes a privilege for some
			algorithm = congestionControl(conn)
		}
		described, warnings := tcpOf(conn)
		conn.Close()
		bbr := strings.HasPrefix(algorithm, "bbr") && loopbackQdisc() != "fq"
		if described.CongestionControl != algorithm || (len(warnings) > 0) != bbr {
			t.Errorf("%s: %+v, %q", algorithm, described, warnings)
		}
	}
}

// BBR has a warning without the fq qdisc, and other algorithms have none.
func TestWarningOfPacing(t *testing.T) {
	for _, c := range []struct {
		algorithm, qdisc string
		warned           bool
	}{
		{"bbr", "noqueue", true},
		{"bbr", "", true},
		{"bbr2", "pfifo_fast", true},
		{"bbr", "fq", false},
		{"bbr", "fq_codel", true},
		{"cubic", "noqueue", false},
		{"reno", "fq_codel", false},
	} {
		tcp := TCP{CongestionControl: c.algorithm}
		if warnings := tcp.warnings(c.qdisc); (len(warnings) == 1) != c.warned {
			t.Errorf("%+v: %q", c, warnings)
		}
	}
}

func setCongestionControl(conn net.Conn, algorithm string) (err error) {
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		return err
	}
	if failed := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, algorithm)
	}); failed != nil {
		return failed
	}
	return err
}
