#include "textflag.h"

// Multi-buffer SHA-256 of 16 lanes in AVX-512. A ZMM register is one word of the
// state or of the block, for lanes 0 to 15.
//
//	Z0 ... Z7    a ... h, the state
//	Z8 ... Z15   temporaries
//	Z16 ... Z31  w[0] ... w[15] if each lane has its own block
//
//	DI  the state in memory      SI  the schedule, or the block
//	BX  the round constants      CX, DX  counters
//
// VPTERNLOGD looks up the result for three bits in its constant, at index
// 4*(last operand) + 2*(operand before) + (operand before that): 0x96 is XOR, 0xe8
// is Maj, and 0xca is Ch, whose condition is the last operand.
//
// Specification: https://doi.org/10.6028/NIST.FIPS.180-4, section 6.2.2

// ROUND is one of the 64 rounds. The caller has added w[t] + k[t] to h. The new a
// is in h's register and the new e in d's, so that the next round's operands are
// shifted by one: h, a, b, c, d, e, f, g.
#define ROUND(a, b, c, d, e, f, g, h) \
	VMOVDQA32  e, Z8;                \
	VPTERNLOGD $0xca, g, f, Z8;      \
	VPRORD     $6, e, Z9;            \
	VPRORD     $11, e, Z10;          \
	VPRORD     $25, e, Z11;          \
	VPTERNLOGD $0x96, Z9, Z10, Z11;  \
	VPADDD     Z8, h, h;             \
	VPADDD     Z11, h, h;            \
	VPADDD     h, d, d;              \
	VMOVDQA32  a, Z12;               \
	VPTERNLOGD $0xe8, b, c, Z12;     \
	VPRORD     $2, a, Z13;           \
	VPRORD     $13, a, Z14;          \
	VPRORD     $22, a, Z15;          \
	VPTERNLOGD $0x96, Z13, Z14, Z15; \
	VPADDD     Z12, h, h;            \
	VPADDD     Z15, h, h

// SHARED is ROUND with w[t] + k[t] from memory, one word for all lanes.
#define SHARED(t, a, b, c, d, e, f, g, h) \
	VPADDD.BCST (4*t)(SI), h, h; \
	ROUND(a, b, c, d, e, f, g, h)

// LANES is ROUND with each lane's own w[t] in a register.
#define LANES(w, t, a, b, c, d, e, f, g, h) \
	VPADDD      w, h, h;         \
	VPADDD.BCST (4*t)(BX), h, h; \
	ROUND(a, b, c, d, e, f, g, h)

// NEXT replaces w[t] by w[t+16]:
// w[t] + s0(w[t+1]) + w[t+9] + s1(w[t+14]).
#define NEXT(w, w1, w9, w14) \
	VPRORD     $7, w1, Z8;           \
	VPRORD     $18, w1, Z9;          \
	VPSRLD     $3, w1, Z10;          \
	VPTERNLOGD $0x96, Z8, Z9, Z10;   \
	VPRORD     $17, w14, Z11;        \
	VPRORD     $19, w14, Z12;        \
	VPSRLD     $10, w14, Z13;        \
	VPTERNLOGD $0x96, Z11, Z12, Z13; \
	VPADDD     w9, w, w;             \
	VPADDD     Z10, w, w;            \
	VPADDD     Z13, w, w

#define LOAD(i, z) VMOVDQU32 (64*i)(DI), z

// ADD ends a block: it adds the state before the block to the rounds' result.
#define ADD(i, z) \
	VPADDD    (64*i)(DI), z, z; \
	VMOVDQU32 z, (64*i)(DI)

#define LOADSTATE \
	LOAD(0, Z0); LOAD(1, Z1); LOAD(2, Z2); LOAD(3, Z3); \
	LOAD(4, Z4); LOAD(5, Z5); LOAD(6, Z6); LOAD(7, Z7)

#define ADDSTATE \
	ADD(0, Z0); ADD(1, Z1); ADD(2, Z2); ADD(3, Z3); \
	ADD(4, Z4); ADD(5, Z5); ADD(6, Z6); ADD(7, Z7)

// func compressSharedAVX512(state *[8]vector, schedule *[64]uint32, blocks int)
TEXT ·compressSharedAVX512(SB), NOSPLIT, $0-24
	MOVQ state+0(FP), DI
	MOVQ schedule+8(FP), SI
	MOVQ blocks+16(FP), CX
	LOADSTATE

block:
	MOVQ $8, DX

rounds:
	SHARED(0, Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7)
	SHARED(1, Z7, Z0, Z1, Z2, Z3, Z4, Z5, Z6)
	SHARED(2, Z6, Z7, Z0, Z1, Z2, Z3, Z4, Z5)
	SHARED(3, Z5, Z6, Z7, Z0, Z1, Z2, Z3, Z4)
	SHARED(4, Z4, Z5, Z6, Z7, Z0, Z1, Z2, Z3)
	SHARED(5, Z3, Z4, Z5, Z6, Z7, Z0, Z1, Z2)
	SHARED(6, Z2, Z3, Z4, Z5, Z6, Z7, Z0, Z1)
	SHARED(7, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z0)
	ADDQ $32, SI
	DECQ DX
	JNZ  rounds

	ADDSTATE
	DECQ CX
	JNZ  block
	VZEROUPPER
	RET

#define WORD(i, z) VMOVDQU32 (64*i)(SI), z

// func compressLanesAVX512(state *[8]vector, block *[16]vector)
TEXT ·compressLanesAVX512(SB), NOSPLIT, $0-16
	MOVQ state+0(FP), DI
	MOVQ block+8(FP), SI
	LEAQ ·constants(SB), BX
	LOADSTATE
	WORD(0, Z16); WORD(1, Z17); WORD(2, Z18); WORD(3, Z19)
	WORD(4, Z20); WORD(5, Z21); WORD(6, Z22); WORD(7, Z23)
	WORD(8, Z24); WORD(9, Z25); WORD(10, Z26); WORD(11, Z27)
	WORD(12, Z28); WORD(13, Z29); WORD(14, Z30); WORD(15, Z31)
	MOVQ $4, DX

rounds:
	LANES(Z16, 0, Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7)
	LANES(Z17, 1, Z7, Z0, Z1, Z2, Z3, Z4, Z5, Z6)
	LANES(Z18, 2, Z6, Z7, Z0, Z1, Z2, Z3, Z4, Z5)
	LANES(Z19, 3, Z5, Z6, Z7, Z0, Z1, Z2, Z3, Z4)
	LANES(Z20, 4, Z4, Z5, Z6, Z7, Z0, Z1, Z2, Z3)
	LANES(Z21, 5, Z3, Z4, Z5, Z6, Z7, Z0, Z1, Z2)
	LANES(Z22, 6, Z2, Z3, Z4, Z5, Z6, Z7, Z0, Z1)
	LANES(Z23, 7, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z0)
	LANES(Z24, 8, Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7)
	LANES(Z25, 9, Z7, Z0, Z1, Z2, Z3, Z4, Z5, Z6)
	LANES(Z26, 10, Z6, Z7, Z0, Z1, Z2, Z3, Z4, Z5)
	LANES(Z27, 11, Z5, Z6, Z7, Z0, Z1, Z2, Z3, Z4)
	LANES(Z28, 12, Z4, Z5, Z6, Z7, Z0, Z1, Z2, Z3)
	LANES(Z29, 13, Z3, Z4, Z5, Z6, Z7, Z0, Z1, Z2)
	LANES(Z30, 14, Z2, Z3, Z4, Z5, Z6, Z7, Z0, Z1)
	LANES(Z31, 15, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z0)
	DECQ DX
	JZ   done

	ADDQ $64, BX
	NEXT(Z16, Z17, Z25, Z30)
	NEXT(Z17, Z18, Z26, Z31)
	NEXT(Z18, Z19, Z27, Z16)
	NEXT(Z19, Z20, Z28, Z17)
	NEXT(Z20, Z21, Z29, Z18)
	NEXT(Z21, Z22, Z30, Z19)
	NEXT(Z22, Z23, Z31, Z20)
	NEXT(Z23, Z24, Z16, Z21)
	NEXT(Z24, Z25, Z17, Z22)
	NEXT(Z25, Z26, Z18, Z23)
	NEXT(Z26, Z27, Z19, Z24)
	NEXT(Z27, Z28, Z20, Z25)
	NEXT(Z28, Z29, Z21, Z26)
	NEXT(Z29, Z30, Z22, Z27)
	NEXT(Z30, Z31, Z23, Z28)
	NEXT(Z31, Z16, Z24, Z29)
	JMP  rounds

done:
	ADDSTATE
	VZEROUPPER
	RET
