#include "textflag.h"

// Multi-buffer SHA-256 of 16 lanes in AVX2: eight lanes and then the other eight. A
// YMM register is one word of the state or of the block, for eight lanes.
//
//	Y0 ... Y7    a ... h, the state
//	Y8, Y9       a^b and b^c, alternating: a^b is b^c of the next round
//	Y10 ... Y15  temporaries
//
//	DI  the state in memory      SI  the schedule, or the block
//	BX  the round constants      R8  counter of the halves
//	CX, DX  counters
//
// A vector in memory has 16 lanes; the second eight begin at byte 32.
//
// Specification: https://doi.org/10.6028/NIST.FIPS.180-4, section 6.2.2

// ROTATE3 is x rotated right by r1, r2 and r3, XORed; l is 32 - r.
#define ROTATE3(x, r1, l1, r2, l2, r3, l3, out) \
	VPSRLD $r1, x, out;   \
	VPSLLD $l1, x, Y14;   \
	VPXOR  Y14, out, out; \
	VPSRLD $r2, x, Y14;   \
	VPSLLD $l2, x, Y15;   \
	VPXOR  Y15, Y14, Y14; \
	VPXOR  Y14, out, out; \
	VPSRLD $r3, x, Y14;   \
	VPSLLD $l3, x, Y15;   \
	VPXOR  Y15, Y14, Y14; \
	VPXOR  Y14, out, out

// ROUND is one of the 64 rounds. The caller has added w[t] + k[t] to h. The new a
// is in h's register and the new e in d's, so that the next round's operands are
// shifted by one: h, a, b, c, d, e, f, g, bc, ab.
//
// Ch(e, f, g) is g ^ e&(f^g), and Maj(a, b, c) is b ^ (a^b)&(b^c).
#define ROUND(a, b, c, d, e, f, g, h, ab, bc) \
	VPXOR  f, g, Y10;                       \
	VPAND  e, Y10, Y10;                     \
	VPXOR  g, Y10, Y10;                     \
	VPADDD Y10, h, h;                       \
	ROTATE3(e, 6, 26, 11, 21, 25, 7, Y11);  \
	VPADDD Y11, h, h;                       \
	VPADDD h, d, d;                         \
	VPXOR  a, b, ab;                        \
	VPAND  ab, bc, bc;                      \
	VPXOR  b, bc, bc;                       \
	VPADDD bc, h, h;                        \
	ROTATE3(a, 2, 30, 13, 19, 22, 10, Y12); \
	VPADDD Y12, h, h

// SHARED is ROUND with w[t] + k[t] from memory, one word for all lanes.
#define SHARED(t, a, b, c, d, e, f, g, h, ab, bc) \
	VPBROADCASTD (4*t)(SI), Y13; \
	VPADDD       Y13, h, h;      \
	ROUND(a, b, c, d, e, f, g, h, ab, bc)

// LANES is ROUND with each lane's own w[t] from memory.
#define LANES(t, a, b, c, d, e, f, g, h, ab, bc) \
	VPBROADCASTD (4*t)(BX), Y13;   \
	VPADDD       (64*t)(SI), h, h; \
	VPADDD       Y13, h, h;        \
	ROUND(a, b, c, d, e, f, g, h, ab, bc)

// SHIFT3 is ROTATE3 whose third part is shifted, not rotated.
#define SHIFT3(x, r1, l1, r2, l2, s3, out) \
	VPSRLD $r1, x, out;   \
	VPSLLD $l1, x, Y14;   \
	VPXOR  Y14, out, out; \
	VPSRLD $r2, x, Y14;   \
	VPSLLD $l2, x, Y15;   \
	VPXOR  Y15, Y14, Y14; \
	VPXOR  Y14, out, out; \
	VPSRLD $s3, x, Y14;   \
	VPXOR  Y14, out, out

// NEXT replaces w[t] by w[t+16]:
// w[t] + s0(w[t+1]) + w[t+9] + s1(w[t+14]). The indices are modulo 16.
#define NEXT(t, t1, t9, t14) \
	VMOVDQU (64*t1)(SI), Y10;             \
	SHIFT3(Y10, 7, 25, 18, 14, 3, Y11);   \
	VMOVDQU (64*t14)(SI), Y12;            \
	SHIFT3(Y12, 17, 15, 19, 13, 10, Y13); \
	VPADDD  (64*t)(SI), Y11, Y11;         \
	VPADDD  (64*t9)(SI), Y13, Y13;        \
	VPADDD  Y11, Y13, Y13;                \
	VMOVDQU Y13, (64*t)(SI)

#define LOAD(i, y) VMOVDQU (64*i)(DI), y

// ADD ends a block: it adds the state before the block to the rounds' result.
#define ADD(i, y) \
	VPADDD  (64*i)(DI), y, y; \
	VMOVDQU y, (64*i)(DI)

#define LOADSTATE \
	LOAD(0, Y0); LOAD(1, Y1); LOAD(2, Y2); LOAD(3, Y3); \
	LOAD(4, Y4); LOAD(5, Y5); LOAD(6, Y6); LOAD(7, Y7)

#define ADDSTATE \
	ADD(0, Y0); ADD(1, Y1); ADD(2, Y2); ADD(3, Y3); \
	ADD(4, Y4); ADD(5, Y5); ADD(6, Y6); ADD(7, Y7)

// func compressSharedAVX2(state *[8]vector, schedule *[64]uint32, blocks int)
TEXT ·compressSharedAVX2(SB), NOSPLIT, $0-24
	MOVQ state+0(FP), DI
	MOVQ $2, R8

half:
	MOVQ schedule+8(FP), SI
	MOVQ blocks+16(FP), CX
	LOADSTATE

block:
	VPXOR Y1, Y2, Y9
	MOVQ  $8, DX

rounds:
	SHARED(0, Y0, Y1, Y2, Y3, Y4, Y5, Y6, Y7, Y8, Y9)
	SHARED(1, Y7, Y0, Y1, Y2, Y3, Y4, Y5, Y6, Y9, Y8)
	SHARED(2, Y6, Y7, Y0, Y1, Y2, Y3, Y4, Y5, Y8, Y9)
	SHARED(3, Y5, Y6, Y7, Y0, Y1, Y2, Y3, Y4, Y9, Y8)
	SHARED(4, Y4, Y5, Y6, Y7, Y0, Y1, Y2, Y3, Y8, Y9)
	SHARED(5, Y3, Y4, Y5, Y6, Y7, Y0, Y1, Y2, Y9, Y8)
	SHARED(6, Y2, Y3, Y4, Y5, Y6, Y7, Y0, Y1, Y8, Y9)
	SHARED(7, Y1, Y2, Y3, Y4, Y5, Y6, Y7, Y0, Y9, Y8)
	ADDQ $32, SI
	DECQ DX
	JNZ  rounds

	ADDSTATE
	DECQ CX
	JNZ  block

	ADDQ $32, DI
	DECQ R8
	JNZ  half
	VZEROUPPER
	RET

// func compressLanesAVX2(state *[8]vector, block *[16]vector)
TEXT ·compressLanesAVX2(SB), NOSPLIT, $0-16
	MOVQ state+0(FP), DI
	MOVQ block+8(FP), SI
	MOVQ $2, R8

half:
	LEAQ ·constants(SB), BX
	LOADSTATE
	VPXOR Y1, Y2, Y9
	MOVQ  $4, DX

rounds:
	LANES(0, Y0, Y1, Y2, Y3, Y4, Y5, Y6, Y7, Y8, Y9)
	LANES(1, Y7, Y0, Y1, Y2, Y3, Y4, Y5, Y6, Y9, Y8)
	LANES(2, Y6, Y7, Y0, Y1, Y2, Y3, Y4, Y5, Y8, Y9)
	LANES(3, Y5, Y6, Y7, Y0, Y1, Y2, Y3, Y4, Y9, Y8)
	LANES(4, Y4, Y5, Y6, Y7, Y0, Y1, Y2, Y3, Y8, Y9)
	LANES(5, Y3, Y4, Y5, Y6, Y7, Y0, Y1, Y2, Y9, Y8)
	LANES(6, Y2, Y3, Y4, Y5, Y6, Y7, Y0, Y1, Y8, Y9)
	LANES(7, Y1, Y2, Y3, Y4, Y5, Y6, Y7, Y0, Y9, Y8)
	LANES(8, Y0, Y1, Y2, Y3, Y4, Y5, Y6, Y7, Y8, Y9)
	LANES(9, Y7, Y0, Y1, Y2, Y3, Y4, Y5, Y6, Y9, Y8)
	LANES(10, Y6, Y7, Y0, Y1, Y2, Y3, Y4, Y5, Y8, Y9)
	LANES(11, Y5, Y6, Y7, Y0, Y1, Y2, Y3, Y4, Y9, Y8)
	LANES(12, Y4, Y5, Y6, Y7, Y0, Y1, Y2, Y3, Y8, Y9)
	LANES(13, Y3, Y4, Y5, Y6, Y7, Y0, Y1, Y2, Y9, Y8)
	LANES(14, Y2, Y3, Y4, Y5, Y6, Y7, Y0, Y1, Y8, Y9)
	LANES(15, Y1, Y2, Y3, Y4, Y5, Y6, Y7, Y0, Y9, Y8)
	DECQ DX
	JZ   done

	ADDQ $64, BX
	NEXT(0, 1, 9, 14)
	NEXT(1, 2, 10, 15)
	NEXT(2, 3, 11, 0)
	NEXT(3, 4, 12, 1)
	NEXT(4, 5, 13, 2)
	NEXT(5, 6, 14, 3)
	NEXT(6, 7, 15, 4)
	NEXT(7, 8, 0, 5)
	NEXT(8, 9, 1, 6)
	NEXT(9, 10, 2, 7)
	NEXT(10, 11, 3, 8)
	NEXT(11, 12, 4, 9)
	NEXT(12, 13, 5, 10)
	NEXT(13, 14, 6, 11)
	NEXT(14, 15, 7, 12)
	NEXT(15, 0, 8, 13)
	JMP  rounds

done:
	ADDSTATE
	ADDQ $32, DI
	ADDQ $32, SI
	DECQ R8
	JNZ  half
	VZEROUPPER
	RET

// func broadcastAVX2(vectors *vector, words *uint32, n int)
TEXT ·broadcastAVX2(SB), NOSPLIT, $0-24
	MOVQ vectors+0(FP), DI
	MOVQ words+8(FP), SI
	MOVQ n+16(FP), CX

next:
	VPBROADCASTD (SI), Y0
	VMOVDQU Y0, (DI)
	VMOVDQU Y0, 32(DI)
	ADDQ $4, SI
	ADDQ $64, DI
	DECQ CX
	JNZ  next
	VZEROUPPER
	RET
