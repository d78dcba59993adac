// Sixteen float lanes with the same arithmetic everywhere.
//
// Every operation is IEEE single precision and every multiply-add is fused, so AVX-512, AVX2 and portable builds give
// the same bits. Compile with -ffp-contract=off: only what is written as fma is fused.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#if !defined(MB_PORTABLE) && defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__)
#define MB_ISA "avx512"
enum { MR = 8, NV = 3 };  // register tile: MR rows by NV vectors of accumulators

struct V { __m512 x; };
struct U { __m512i x; };
typedef __mmask16 M;

static inline V load(const float* p) { return {_mm512_load_ps(p)}; }
static inline void store(float* p, V a) { _mm512_store_ps(p, a.x); }
static inline V splat(float a) { return {_mm512_set1_ps(a)}; }
static inline V operator+(V a, V b) { return {_mm512_add_ps(a.x, b.x)}; }
static inline V operator-(V a, V b) { return {_mm512_sub_ps(a.x, b.x)}; }
static inline V operator*(V a, V b) { return {_mm512_mul_ps(a.x, b.x)}; }
static inline V operator/(V a, V b) { return {_mm512_div_ps(a.x, b.x)}; }
static inline V fma(V a, V b, V c) { return {_mm512_fmadd_ps(a.x, b.x, c.x)}; }
static inline V root(V a) { return {_mm512_sqrt_ps(a.x)}; }
static inline M less(V a, V b) { return _mm512_cmp_ps_mask(a.x, b.x, _CMP_LT_OQ); }
static inline M unordered(V a) { return _mm512_cmp_ps_mask(a.x, a.x, _CMP_UNORD_Q); }
static inline V select(M m, V a, V b) { return {_mm512_mask_blend_ps(m, b.x, a.x)}; }  // m ? a : b
static inline U usplat(uint32_t a) { return {_mm512_set1_epi32((int)a)}; }
static inline U uload(const uint32_t* p) { return {_mm512_load_si512(p)}; }
static inline void ustore(uint32_t* p, U a) { _mm512_store_si512(p, a.x); }
static inline U operator+(U a, U b) { return {_mm512_add_epi32(a.x, b.x)}; }
static inline U operator*(U a, U b) { return {_mm512_mullo_epi32(a.x, b.x)}; }
static inline U operator^(U a, U b) { return {_mm512_xor_si512(a.x, b.x)}; }
static inline U operator&(U a, U b) { return {_mm512_and_si512(a.x, b.x)}; }
template <int n> static inline U shr(U a) { return {_mm512_srli_epi32(a.x, n)}; }
template <int n> static inline U shl(U a) { return {_mm512_slli_epi32(a.x, n)}; }
static inline M below(U a, U b) { return _mm512_cmplt_epu32_mask(a.x, b.x); }
static inline V tofloat(U a) { return {_mm512_cvtepi32_ps(a.x)}; }
static inline U asbits(V a) { return {_mm512_castps_si512(a.x)}; }
static inline V asfloat(U a) { return {_mm512_castsi512_ps(a.x)}; }
static inline __m256 low(V a) { return _mm512_castps512_ps256(a.x); }
static inline __m256 high(V a) { return _mm512_extractf32x8_ps(a.x, 1); }

#elif !defined(MB_PORTABLE) && defined(__AVX2__) && defined(__FMA__)
#define MB_ISA "avx2"
enum { MR = 4, NV = 1 };

struct V { __m256 l, h; };
struct U { __m256i l, h; };
struct M { __m256 l, h; };

static inline V load(const float* p) { return {_mm256_load_ps(p), _mm256_load_ps(p + 8)}; }
static inline void store(float* p, V a) { _mm256_store_ps(p, a.l); _mm256_store_ps(p + 8, a.h); }
static inline V splat(float a) { __m256 v = _mm256_set1_ps(a); return {v, v}; }
#define MB_BOTH(name, f) static inline V name(V a, V b) { return {f(a.l, b.l), f(a.h, b.h)}; }
MB_BOTH(operator+, _mm256_add_ps) MB_BOTH(operator-, _mm256_sub_ps)
MB_BOTH(operator*, _mm256_mul_ps) MB_BOTH(operator/, _mm256_div_ps)
#undef MB_BOTH
static inline V fma(V a, V b, V c) { return {_mm256_fmadd_ps(a.l, b.l, c.l), _mm256_fmadd_ps(a.h, b.h, c.h)}; }
static inline V root(V a) { return {_mm256_sqrt_ps(a.l), _mm256_sqrt_ps(a.h)}; }
static inline M less(V a, V b) {
  return {_mm256_cmp_ps(a.l, b.l, _CMP_LT_OQ), _mm256_cmp_ps(a.h, b.h, _CMP_LT_OQ)};
}
static inline M unordered(V a) {
  return {_mm256_cmp_ps(a.l, a.l, _CMP_UNORD_Q), _mm256_cmp_ps(a.h, a.h, _CMP_UNORD_Q)};
}
static inline V select(M m, V a, V b) {
  return {_mm256_blendv_ps(b.l, a.l, m.l), _mm256_blendv_ps(b.h, a.h, m.h)};
}
static inline U usplat(uint32_t a) { __m256i v = _mm256_set1_epi32((int)a); return {v, v}; }
static inline U uload(const uint32_t* p) {
  return {_mm256_load_si256((const __m256i*)p), _mm256_load_si256((const __m256i*)p + 1)};
}
static inline void ustore(uint32_t* p, U a) {
  _mm256_store_si256((__m256i*)p, a.l);
  _mm256_store_si256((__m256i*)p + 1, a.h);
}
#define MB_BOTH(name, f) static inline U name(U a, U b) { return {f(a.l, b.l), f(a.h, b.h)}; }
MB_BOTH(operator+, _mm256_add_epi32) MB_BOTH(operator*, _mm256_mullo_epi32)
MB_BOTH(operator^, _mm256_xor_si256) MB_BOTH(operator&, _mm256_and_si256)
#undef MB_BOTH
template <int n> static inline U shr(U a) { return {_mm256_srli_epi32(a.l, n), _mm256_srli_epi32(a.h, n)}; }
template <int n> static inline U shl(U a) { return {_mm256_slli_epi32(a.l, n), _mm256_slli_epi32(a.h, n)}; }
static inline M below(U a, U b) {  // operands stay under 2^31 here, so the signed comparison is right
  return {_mm256_castsi256_ps(_mm256_cmpgt_epi32(b.l, a.l)), _mm256_castsi256_ps(_mm256_cmpgt_epi32(b.h, a.h))};
}
static inline V tofloat(U a) { return {_mm256_cvtepi32_ps(a.l), _mm256_cvtepi32_ps(a.h)}; }
static inline U asbits(V a) { return {_mm256_castps_si256(a.l), _mm256_castps_si256(a.h)}; }
static inline V asfloat(U a) { return {_mm256_castsi256_ps(a.l), _mm256_castsi256_ps(a.h)}; }
static inline __m256 low(V a) { return a.l; }
static inline __m256 high(V a) { return a.h; }

#else
#define MB_ISA "portable"
enum { MR = 4, NV = 1 };

struct V { float x[16]; };
struct U { uint32_t x[16]; };
struct M { bool x[16]; };
#define MB_EACH(R, expr) { R r; for (int i = 0; i < 16; i++) r.x[i] = (expr); return r; }
static inline V load(const float* p) MB_EACH(V, p[i])
static inline void store(float* p, V a) { for (int i = 0; i < 16; i++) p[i] = a.x[i]; }
static inline V splat(float a) MB_EACH(V, a)
static inline V operator+(V a, V b) MB_EACH(V, a.x[i] + b.x[i])
static inline V operator-(V a, V b) MB_EACH(V, a.x[i] - b.x[i])
static inline V operator*(V a, V b) MB_EACH(V, a.x[i] * b.x[i])
static inline V operator/(V a, V b) MB_EACH(V, a.x[i] / b.x[i])
static inline V fma(V a, V b, V c) MB_EACH(V, std::fmaf(a.x[i], b.x[i], c.x[i]))
static inline V root(V a) MB_EACH(V, std::sqrt(a.x[i]))
static inline M less(V a, V b) MB_EACH(M, a.x[i] < b.x[i])
static inline M unordered(V a) MB_EACH(M, a.x[i] != a.x[i])
static inline V select(M m, V a, V b) MB_EACH(V, m.x[i] ? a.x[i] : b.x[i])
static inline U usplat(uint32_t a) MB_EACH(U, a)
static inline U uload(const uint32_t* p) MB_EACH(U, p[i])
static inline void ustore(uint32_t* p, U a) { for (int i = 0; i < 16; i++) p[i] = a.x[i]; }
static inline U operator+(U a, U b) MB_EACH(U, a.x[i] + b.x[i])
static inline U operator*(U a, U b) MB_EACH(U, a.x[i] * b.x[i])
static inline U operator^(U a, U b) MB_EACH(U, a.x[i] ^ b.x[i])
static inline U operator&(U a, U b) MB_EACH(U, a.x[i] & b.x[i])
template <int n> static inline U shr(U a) MB_EACH(U, a.x[i] >> n)
template <int n> static inline U shl(U a) MB_EACH(U, a.x[i] << n)
static inline M below(U a, U b) MB_EACH(M, a.x[i] < b.x[i])
static inline V tofloat(U a) MB_EACH(V, (float)(int32_t)a.x[i])
static inline U asbits(V a) { U r; std::memcpy(r.x, a.x, 64); return r; }
static inline V asfloat(U a) { V r; std::memcpy(r.x, a.x, 64); return r; }
#undef MB_EACH
#endif

// t[j * ldt + i] = w[i * ldw + j] for i, j < 16. Four columns at a time: rows 4 i + r of one lane each into vector r, so
// that what is left is a transposition of 4 × 4 numbers within every lane.
static inline void transpose16(const float* w, size_t ldw, float* t, size_t ldt) {
#if !defined(MB_PORTABLE) && (defined(__AVX512F__) || defined(__AVX2__))
#if defined(__AVX512F__)
#define MB_WIDE(f) _mm512_##f
  typedef __m512 W;
  enum { ROWS = 16 };
#else
#define MB_WIDE(f) _mm256_##f
  typedef __m256 W;
  enum { ROWS = 8 };
#endif
  for (int i = 0; i < 16; i += ROWS)
    for (int j = 0; j < 16; j += 4) {
      W a[4];
      for (int r = 0; r < 4; r++) {
        const float* from = w + (i + r) * ldw + j;
#if defined(__AVX512F__)
        a[r] = _mm512_castps128_ps512(_mm_load_ps(from));
        a[r] = _mm512_insertf32x4(a[r], _mm_load_ps(from + 4 * ldw), 1);
        a[r] = _mm512_insertf32x4(a[r], _mm_load_ps(from + 8 * ldw), 2);
        a[r] = _mm512_insertf32x4(a[r], _mm_load_ps(from + 12 * ldw), 3);
#else
        a[r] = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_load_ps(from)), _mm_load_ps(from + 4 * ldw), 1);
#endif
      }
      const W p = MB_WIDE(unpacklo_ps)(a[0], a[1]), q = MB_WIDE(unpackhi_ps)(a[0], a[1]);
      const W r = MB_WIDE(unpacklo_ps)(a[2], a[3]), s = MB_WIDE(unpackhi_ps)(a[2], a[3]);
      float* to = t + j * ldt + i;
      MB_WIDE(store_ps)(to, MB_WIDE(shuffle_ps)(p, r, 0x44));
      MB_WIDE(store_ps)(to + ldt, MB_WIDE(shuffle_ps)(p, r, 0xee));
      MB_WIDE(store_ps)(to + 2 * ldt, MB_WIDE(shuffle_ps)(q, s, 0x44));
      MB_WIDE(store_ps)(to + 3 * ldt, MB_WIDE(shuffle_ps)(q, s, 0xee));
    }
#undef MB_WIDE
#else
  for (int j = 0; j < 16; j++)
    for (int i = 0; i < 16; i++) t[j * ldt + i] = w[i * ldw + j];
#endif
}

static inline V neg(V a) { return splat(0.f) - a; }

// Lanes folded as a fixed tree (i with i + 8, then i + 4, …), so that every build rounds alike.
#if defined(__AVX2__) && !defined(MB_PORTABLE)
#define MB_FOLD(name, op)                                                        \
  static inline float name(V a) {                                                \
    __m256 x = _mm256_##op##_ps(low(a), high(a));                                \
    __m128 y = _mm_##op##_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1)); \
    y = _mm_##op##_ps(y, _mm_movehl_ps(y, y));                                   \
    return _mm_cvtss_f32(_mm_##op##_ss(y, _mm_movehdup_ps(y)));                  \
  }
MB_FOLD(total, add)
MB_FOLD(largest, max)
#undef MB_FOLD
#else
static inline float total(V a) {
  for (int half = 8; half; half >>= 1)
    for (int i = 0; i < half; i++) a.x[i] = a.x[i] + a.x[i + half];
  return a.x[0];
}
static inline float largest(V a) {
  for (int half = 8; half; half >>= 1)
    for (int i = 0; i < half; i++) a.x[i] = a.x[i] > a.x[i + half] ? a.x[i] : a.x[i + half];
  return a.x[0];
}
#endif

// e^x for |x| up to 86 (clamped beyond), NaN stays NaN; about 1 ulp. Cody–Waite reduction and a degree-6 polynomial.
static inline V expv(V x) {
  V c = select(less(x, splat(-86.f)), splat(-86.f), x);
  c = select(less(splat(86.f), c), splat(86.f), c);
  const V magic = splat(12582912.f);  // 1.5 * 2^23: adding it rounds to the nearest integer
  V shifted = fma(c, splat(1.44269504f), magic);
  V n = shifted - magic;
  V f = fma(n, splat(-0.693145752f), c);
  f = fma(n, splat(-1.42860677e-6f), f);
  V p = splat(1.98756912e-4f);
  p = fma(p, f, splat(1.39819994e-3f));
  p = fma(p, f, splat(8.33345205e-3f));
  p = fma(p, f, splat(4.16657962e-2f));
  p = fma(p, f, splat(1.66666657e-1f));
  p = fma(p, f, splat(0.5f));
  p = fma(f * f, p, f + splat(1.f));
  V r = asfloat(asbits(p) + shl<23>(asbits(shifted)));  // the low bits of `shifted` hold n
  return select(unordered(x), x, r);
}

static inline V tanhv(V x) { return splat(1.f) - splat(2.f) / (expv(x + x) + splat(1.f)); }
static inline V sigmoidv(V x) { return splat(1.f) / (splat(1.f) + expv(neg(x))); }

// The mixing function of metabench.training.hashing ("lowbias32").
static inline uint32_t mix(uint32_t x) {
  x ^= x >> 16; x *= 0x7feb352du; x ^= x >> 15; x *= 0x846ca68bu; x ^= x >> 16;
  return x;
}
static inline U mix(U x) {
  x = x ^ shr<16>(x); x = x * usplat(0x7feb352du); x = x ^ shr<15>(x); x = x * usplat(0x846ca68bu);
  return x ^ shr<16>(x);
}
