/* What kernels in C share: numbers in half the width, and functions that glibc computes for whole vectors at once. */

#if !defined(__linux__) || !defined(__x86_64__) || !defined(__GNUC__) || defined(__clang__)
#error "kernels in C are built by gcc, for Linux on x86-64"
#endif

#include <stdint.h>
#include <string.h>

#ifndef __GLIBC__
#error "kernels in C want glibc, whose vector library has the functions that they call"
#elif !__GLIBC_PREREQ(2, 35)
#error "kernels in C want glibc 2.35 or newer, whose vector library is complete"
#endif

typedef float f32;
typedef uint16_t bf16;

/* Declared here, since math.h tells of the vector forms only where NaN and infinity are given up. */
#define VECTOR __attribute__((simd("notinbranch"), const))
f32 expf(f32) VECTOR;
f32 logf(f32) VECTOR;
f32 log2f(f32) VECTOR;
f32 log1pf(f32) VECTOR;
f32 tanhf(f32) VECTOR;
f32 erff(f32) VECTOR;
f32 sinf(f32) VECTOR;
f32 cosf(f32) VECTOR;
f32 powf(f32, f32) VECTOR;

static inline f32 from_f32(f32 x) { return x; }
static inline f32 to_f32(f32 x) { return x; }

static inline f32 from_bf16(bf16 x) {
    uint32_t bits = (uint32_t)x << 16;
    f32 wide;
    memcpy(&wide, &bits, sizeof wide);
    return wide;
}

/* Rounds to the nearest, and between two to the even one. */
static inline bf16 to_bf16(f32 x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    bits += 0x7fff + (bits >> 16 & 1);
    return x != x ? 0x7fc0 : (bf16)(bits >> 16);
}

#define GLUE_(a, b) a##b
#define GLUE(a, b) GLUE_(a, b)
#define FROM(type, x) GLUE(from_, type)(x)
#define TO(type, x) GLUE(to_, type)(x)

/* Like torch's minimum and maximum, these pass NaN on. */
static inline f32 smaller(f32 a, f32 b) { return a != a || a < b ? a : b; }
static inline f32 larger(f32 a, f32 b) { return a != a || a > b ? a : b; }

static inline f32 sigmoid(f32 x) { return 1.0f / (1.0f + expf(-x)); }
static inline f32 softplus(f32 x) { return larger(x, 0.0f) + log1pf(expf(-__builtin_fabsf(x))); }
static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
