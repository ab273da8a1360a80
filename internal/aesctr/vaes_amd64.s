#include "textflag.h"

// AES-256 in counter mode with VAES on registers of 32 bytes, two blocks each: one key
// stream, or two in one pass over the bytes.
//
//	Y0-Y7    a tile of key stream, 16 blocks
//	Y8       a round key in both halves, loaded for each round: loads are free
//	         while the AES units are busy
//	Y9       a temporary
//	Y10      VPSHUFB's mask: all bytes of a block in reverse order
//	Y11      2 in the low half of each block
//	Y12-Y13  the next counters of a and b, the low half first
//	Y14-Y15  temporaries
//
// The last round's key is XORed with the bytes of src before the round, which saves an
// instruction. No load or store leaves the tiles, and none needs an alignment.
//
// Specification: https://doi.org/10.6028/NIST.FIPS.197-upd1, sections 5.1 and 5.2

DATA reverse<>+0(SB)/8, $0x08090a0b0c0d0e0f
DATA reverse<>+8(SB)/8, $0x0001020304050607
DATA reverse<>+16(SB)/8, $0x08090a0b0c0d0e0f
DATA reverse<>+24(SB)/8, $0x0001020304050607
GLOBL reverse<>(SB), RODATA|NOPTR, $32

// What is added to the first counter in the two blocks of a register.
DATA second<>+0(SB)/8, $0
DATA second<>+8(SB)/8, $0
DATA second<>+16(SB)/8, $1
DATA second<>+24(SB)/8, $0
GLOBL second<>(SB), RODATA|NOPTR, $32

DATA two<>+0(SB)/8, $2
DATA two<>+8(SB)/8, $0
GLOBL two<>(SB), RODATA|NOPTR, $16

// FIRST makes the two next blocks of counters, XORed with the first round's key.
#define FIRST(next, y) \
	VPSHUFB Y10, next, y; \
	VPXOR   Y8, y, y; \
	VPADDQ  Y11, next, next

#define FIRSTS(keys, next) \
	VBROADCASTI128 (keys), Y8; \
	FIRST(next, Y0); \
	FIRST(next, Y1); \
	FIRST(next, Y2); \
	FIRST(next, Y3); \
	FIRST(next, Y4); \
	FIRST(next, Y5); \
	FIRST(next, Y6); \
	FIRST(next, Y7)

#define ROUND(off, keys) \
	VBROADCASTI128 off(keys), Y8; \
	VAESENC Y8, Y0, Y0; \
	VAESENC Y8, Y1, Y1; \
	VAESENC Y8, Y2, Y2; \
	VAESENC Y8, Y3, Y3; \
	VAESENC Y8, Y4, Y4; \
	VAESENC Y8, Y5, Y5; \
	VAESENC Y8, Y6, Y6; \
	VAESENC Y8, Y7, Y7

#define ROUNDS(keys) \
	ROUND(16, keys); \
	ROUND(32, keys); \
	ROUND(48, keys); \
	ROUND(64, keys); \
	ROUND(80, keys); \
	ROUND(96, keys); \
	ROUND(112, keys); \
	ROUND(128, keys); \
	ROUND(144, keys); \
	ROUND(160, keys); \
	ROUND(176, keys); \
	ROUND(192, keys); \
	ROUND(208, keys)

#define LAST(src, off, y, t) \
	VPXOR       off(src), Y8, t; \
	VAESENCLAST t, y, t; \
	VMOVDQU     t, off(DI)

// LASTS uses as temporaries the registers that are free by then.
#define LASTS(src, keys) \
	VBROADCASTI128 224(keys), Y8; \
	LAST(src, 0, Y0, Y9); \
	LAST(src, 32, Y1, Y14); \
	LAST(src, 64, Y2, Y15); \
	LAST(src, 96, Y3, Y0); \
	LAST(src, 128, Y4, Y1); \
	LAST(src, 160, Y5, Y2); \
	LAST(src, 192, Y6, Y3); \
	LAST(src, 224, Y7, Y4)

#define TILE(src, keys, next) \
	FIRSTS(keys, next); \
	ROUNDS(keys); \
	LASTS(src, keys)

// func xorTiles(dst, src *byte, tiles int, a, b *schedule, nextA, nextB *counter)
TEXT ·xorTiles(SB), NOSPLIT, $0-56
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ tiles+16(FP), CX
	MOVQ a+24(FP), AX
	MOVQ b+32(FP), BX
	MOVQ nextA+40(FP), R8
	MOVQ nextB+48(FP), R9
	VMOVDQU reverse<>(SB), Y10
	VBROADCASTI128 two<>(SB), Y11
	VBROADCASTI128 (R8), Y12
	VPADDQ second<>(SB), Y12, Y12
	TESTQ BX, BX
	JZ    one
	VBROADCASTI128 (R9), Y13
	VPADDQ second<>(SB), Y13, Y13

both:
	TILE(SI, AX, Y12)
	TILE(DI, BX, Y13)
	ADDQ $256, SI
	ADDQ $256, DI
	DECQ CX
	JNZ  both
	VMOVDQU X12, (R8)
	VMOVDQU X13, (R9)
	VZEROUPPER
	RET

one:
	TILE(SI, AX, Y12)
	ADDQ $256, SI
	ADDQ $256, DI
	DECQ CX
	JNZ  one
	VMOVDQU X12, (R8)
	VZEROUPPER
	RET

// CHAIN XORs each word of round key rk with all words before it, and with X2, which
// makes it the round key two rounds later.
#define CHAIN(rk, off) \
	MOVO  rk, X3; \
	PSLLO $4, X3; \
	PXOR  X3, rk; \
	PSLLO $4, X3; \
	PXOR  X3, rk; \
	PSLLO $4, X3; \
	PXOR  X3, rk; \
	PXOR  X2, rk; \
	MOVOU rk, off(DI)

#define EVEN(constant, off) \
	AESKEYGENASSIST $constant, X1, X2; \
	PSHUFD $0xff, X2, X2; \
	CHAIN(X0, off)

#define ODD(off) \
	AESKEYGENASSIST $0, X0, X2; \
	PSHUFD $0xaa, X2, X2; \
	CHAIN(X1, off)

// func expandKey(keys *schedule, key *[32]byte)
TEXT ·expandKey(SB), NOSPLIT, $0-16
	MOVQ keys+0(FP), DI
	MOVQ key+8(FP), SI
	MOVOU (SI), X0
	MOVOU 16(SI), X1
	MOVOU X0, (DI)
	MOVOU X1, 16(DI)
	EVEN(1, 32)
	ODD(48)
	EVEN(2, 64)
	ODD(80)
	EVEN(4, 96)
	ODD(112)
	EVEN(8, 128)
	ODD(144)
	EVEN(16, 160)
	ODD(176)
	EVEN(32, 192)
	ODD(208)
	EVEN(64, 224)
	RET

// func cpuid(leaf, subleaf uint32) (eax, ebx, ecx uint32)
TEXT ·cpuid(SB), NOSPLIT, $0-20
	MOVL leaf+0(FP), AX
	MOVL subleaf+4(FP), CX
	CPUID
	MOVL AX, eax+8(FP)
	MOVL BX, ebx+12(FP)
	MOVL CX, ecx+16(FP)
	RET

// func xgetbv() uint32
TEXT ·xgetbv(SB), NOSPLIT, $0-4
	XORL CX, CX
	XGETBV
	MOVL AX, ret+0(FP)
	RET
