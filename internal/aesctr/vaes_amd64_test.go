package aesctr

import (
	"os"
	"os/exec"
	"testing"
)

// VAES is used only if the processor has all instructions, and the operating system
// saves the registers' upper halves.
func TestSupports(t *testing.T) {
	const features = aesni | osxsave | avx
	if !supports(features, avx2, vaesBit, xmmAndYMM) || !supports(^uint32(0), ^uint32(0), ^uint32(0), ^uint32(0)) {
		t.Error("not supported with everything there")
	}
	for _, missing := range []struct {
		name                            string
		features, extended, more, saved uint32
	}{
		{"AES", features &^ aesni, avx2, vaesBit, xmmAndYMM},
		{"XSAVE in use", features &^ osxsave, avx2, vaesBit, xmmAndYMM},
		{"AVX", features &^ avx, avx2, vaesBit, xmmAndYMM},
		{"AVX2", features, ^uint32(avx2), vaesBit, xmmAndYMM},
		{"VAES", features, avx2, ^uint32(vaesBit), xmmAndYMM},
		{"YMM state", features, avx2, vaesBit, 1<<0 | 1<<1},
		{"XMM state", features, avx2, vaesBit, 1<<0 | 1<<2},
	} {
		if supports(missing.features, missing.extended, missing.more, missing.saved) {
			t.Errorf("supported without %s", missing.name)
		}
	}
}

// MTWIRE_AESCTR=off turns VAES off. The test runs itself in a process of its own.
func TestEnvironmentTurnsVAESOff(t *testing.T) {
	const inner = "AESCTR_TEST_INNER"
	if os.Getenv(inner) != "" {
		if vaes {
			t.Error("VAES is on")
		}
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestEnvironmentTurnsVAESOff$")
	cmd.Env = append(os.Environ(), inner+"=1", Variable+"=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if vaes != (hasVAES() && os.Getenv(Variable) != "off") {
		t.Errorf("VAES is used: %t, the processor has it: %t", vaes, hasVAES())
	}
}
