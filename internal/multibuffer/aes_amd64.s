#include "textflag.h"

// AES-256 of one block under each of several keys, with the AES instructions.
// A key is used once, so no schedule is stored: each round key is computed just
// before its round. Different keys do not depend on each other, so that the
// processor overlaps them.
//
//	X0, X1  the last two round keys: even, odd
//	X2      the block, encrypted so far
//	X3, X4  temporaries
//	X5      the round constant, in each of the four words
//	X6      the plaintext block
//	X7      PSHUFB's mask: the last word, rotated, in all four words
//	X8      zero
//
// AESENCLAST on four equal words has no effect by ShiftRows: it computes SubWord of
// each word and XORs a constant.
//
// Specification: https://doi.org/10.6028/NIST.FIPS.197-upd1, sections 5.1 and 5.2

DATA rotateLast<>+0(SB)/8, $0x0c0f0e0d0c0f0e0d
DATA rotateLast<>+8(SB)/8, $0x0c0f0e0d0c0f0e0d
GLOBL rotateLast<>(SB), RODATA|NOPTR, $16

DATA one<>+0(SB)/8, $0x0000000100000001
DATA one<>+8(SB)/8, $0x0000000100000001
GLOBL one<>(SB), RODATA|NOPTR, $16

// CHAIN replaces round key rk by the one two rounds later. X3 has the result of
// SubWord. Each word is XORed with all words before it, and with X3.
#define CHAIN(rk) \
	MOVOA rk, X4; \
	PSLLO $4, X4; \
	PXOR  X4, rk; \
	MOVOA rk, X4; \
	PSLLO $8, X4; \
	PXOR  X4, rk; \
	PXOR  X3, rk

#define EVEN \
	MOVOA      X1, X3; \
	PSHUFB     X7, X3; \
	AESENCLAST X5, X3; \
	PSLLL      $1, X5; \
	CHAIN(X0)

#define ODD \
	PSHUFD     $0xff, X0, X3; \
	AESENCLAST X8, X3;        \
	CHAIN(X1)

#define TWOROUNDS \
	EVEN;           \
	AESENC  X0, X2; \
	ODD;            \
	AESENC  X1, X2

// func encryptAES(out *[16]byte, keys *[32]byte, n int, block *[16]byte)
TEXT ·encryptAES(SB), NOSPLIT, $0-32
	MOVQ  out+0(FP), DI
	MOVQ  keys+8(FP), SI
	MOVQ  n+16(FP), CX
	MOVQ  block+24(FP), AX
	MOVOU (AX), X6
	MOVOU rotateLast<>(SB), X7
	PXOR  X8, X8

key:
	MOVOU  (SI), X0
	MOVOU  16(SI), X1
	MOVOU  one<>(SB), X5
	MOVOA  X6, X2
	PXOR   X0, X2
	AESENC X1, X2
	TWOROUNDS
	TWOROUNDS
	TWOROUNDS
	TWOROUNDS
	TWOROUNDS
	TWOROUNDS
	EVEN
	AESENCLAST X0, X2
	MOVOU X2, (DI)

	ADDQ $32, SI
	ADDQ $16, DI
	DECQ CX
	JNZ  key
	RET
