// x86-64-v4: AVX-512 (F, BW, CD, DQ, VL), 512-bit vectors.
#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "isa/levels.h"

#define ALSEG_ISA_NAME "avx512"

namespace alseg {
namespace avx512 {
namespace {

constexpr int kLanes = 16;
constexpr int kBlocks = 4;
typedef float vf __attribute__((vector_size(64)));
typedef int32_t vi __attribute__((vector_size(64)));
typedef int16_t vw __attribute__((vector_size(64)));

inline vf vmax(vf a, vf b) { return (vf)_mm512_max_ps((__m512)a, (__m512)b); }
inline vf vmin(vf a, vf b) { return (vf)_mm512_min_ps((__m512)a, (__m512)b); }
inline vf permute(vf v, vi index) { return (vf)_mm512_permutexvar_ps((__m512i)index, (__m512)v); }
inline vf round_near(vf x, vi*) {
  return (vf)_mm512_roundscale_ps((__m512)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
inline vf scale_pow2(vf p, vf n, vi) { return (vf)_mm512_scalef_ps((__m512)p, (__m512)n); }
// Packs the lanes of v that reach `threshold` to the front of out (kLanes floats are written); their number.
inline int pack_at_least(float* out, vf v, float threshold) {
  const __mmask16 keep = _mm512_cmp_ps_mask((__m512)v, _mm512_set1_ps(threshold), _CMP_GE_OQ);
  _mm512_storeu_ps(out, _mm512_maskz_compress_ps(keep, (__m512)v));
  return __builtin_popcount(keep);
}

// The first lane that is not 0, or kLanes; whether there is one.
inline int first_set(vi v) {
  const unsigned lanes = _mm512_test_epi32_mask((__m512i)v, (__m512i)v);
  return lanes ? __builtin_ctz(lanes) : kLanes;
}
inline bool any(vi v) { return _mm512_test_epi32_mask((__m512i)v, (__m512i)v) != 0; }

inline vw min_w(vw a, vw b) { return (vw)_mm512_min_epi16((__m512i)a, (__m512i)b); }
// v * gain / 2^16, for v >= 0.
inline vw scale_w(vw v, uint16_t gain) {
  return (vw)_mm512_mulhi_epu16((__m512i)v, _mm512_set1_epi16(static_cast<int16_t>(gain)));
}
// Bit i: whether p[i] differs from p[i + 1], for 32 values.
inline uint32_t changes(const int16_t* p) {
  return _mm512_cmpneq_epi16_mask(_mm512_loadu_si512(p), _mm512_loadu_si512(p + 1));
}

inline vf vsqrt(vf v) { return (vf)_mm512_sqrt_ps((__m512)v); }
// 16 interleaved pixels -> 16 bytes of red, green, blue.
inline void split_16(const uint8_t* in, uint8_t* r, uint8_t* g, uint8_t* b) {
  const __m512i four_each = _mm512_setr_epi32(0, 1, 2, 2, 3, 4, 5, 5, 6, 7, 8, 8, 9, 10, 11, 11);
  const __m512i by_channel =
      _mm512_broadcast_i32x4(_mm_setr_epi8(0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11, -1, -1, -1, -1));
  const __m512i together = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  __m512i v = _mm512_maskz_loadu_epi32(0xfff, in);
  v = _mm512_shuffle_epi8(_mm512_permutexvar_epi32(four_each, v), by_channel);
  v = _mm512_permutexvar_epi32(together, v);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(r), _mm512_castsi512_si128(v));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(g), _mm512_extracti32x4_epi32(v, 1));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(b), _mm512_extracti32x4_epi32(v, 2));
}

// kLanes bytes as integers, and back (the low bytes).
inline vi load_lanes(const uint8_t* p) {
  return (vi)_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
inline void store_lanes(uint8_t* p, vi v) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8((__m512i)v));
}

// 1 / x of a normal number, to 2e-7 of it.
inline vf about_inverse(vf x) {
  const vf first = (vf)_mm512_rcp14_ps((__m512)x);
  return first + first * (1.0f - x * first);
}
// The bits of 64 bytes, from the top one down.
class ByteBits {
 public:
  explicit ByteBits(const uint8_t* p) : bytes_(_mm512_loadu_si512(p)) {}
  uint64_t next() {
    const uint64_t bits = _mm512_movepi8_mask(bytes_);
    bytes_ = _mm512_add_epi8(bytes_, bytes_);
    return bits;
  }

 private:
  __m512i bytes_;
};
typedef uint64_t vq __attribute__((vector_size(64)));
inline vq majority(vq a, vq b, vq c) { return (vq)_mm512_ternarylogic_epi64((__m512i)a, (__m512i)b, (__m512i)c, 0xe8); }
inline vq odd(vq a, vq b, vq c) { return (vq)_mm512_ternarylogic_epi64((__m512i)a, (__m512i)b, (__m512i)c, 0x96); }
constexpr int64_t kSlicedBins = 128;  // up to so many bins a channel, bit planes are counted faster than bytes

#include "kernels/simd.inl"
#include "kernels/uncertainty/rows.inl"
#include "kernels/uncertainty/one_pass.inl"
#include "kernels/uncertainty/passes.inl"
#include "kernels/uncertainty/bands.inl"
#include "kernels/uncertainty/reduce.inl"
#include "kernels/uncertainty/driver.inl"
#include "kernels/foreground.inl"
#include "kernels/region_impurity.inl"
#include "kernels/edges.inl"
#include "kernels/pack.inl"
#include "kernels/resize.inl"
#include "kernels/class_probs.inl"
#include "kernels/region_crf.inl"
#include "kernels/slic/planes.inl"
#include "kernels/slic/search.inl"
#include "kernels/slic/runs.inl"
#include "kernels/dense_crf/simplex.inl"
#include "kernels/dense_crf/blur.inl"
#include "kernels/dense_crf/transpose.inl"
#include "kernels/dense_crf/unary.inl"
#include "kernels/dense_crf/sweep.inl"
#include "kernels/dense_crf/filter.inl"
#include "kernels/knn/rows.inl"
#include "kernels/knn/tile.inl"
#include "kernels/knn/divergence.inl"
#include "kernels/knn/exact.inl"
#include "kernels/histogram/planes.inl"
#include "kernels/histogram/bit_planes.inl"
#include "kernels/histogram/increments.inl"
#include "kernels/histogram/driver.inl"
#include "kernels/histogram/belharbi.inl"
#include "kernels/mixture/moments.inl"
#include "kernels/mixture/step.inl"
#include "kernels/mixture/reliability.inl"

}  // namespace

#include "kernels/table.inl"

}  // namespace avx512
}  // namespace alseg
