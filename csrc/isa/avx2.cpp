// x86-64-v3: AVX2 and FMA, 256-bit vectors.
#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "isa/levels.h"

#define ALSEG_ISA_NAME "avx2"

namespace alseg {
namespace avx2 {
namespace {

constexpr int kLanes = 8;
constexpr int kBlocks = 2;
typedef float vf __attribute__((vector_size(32)));
typedef int32_t vi __attribute__((vector_size(32)));
typedef int16_t vw __attribute__((vector_size(32)));

inline vf vmax(vf a, vf b) { return (vf)_mm256_max_ps((__m256)a, (__m256)b); }
inline vf vmin(vf a, vf b) { return (vf)_mm256_min_ps((__m256)a, (__m256)b); }
inline vf permute(vf v, vi index) { return (vf)_mm256_permutevar8x32_ps((__m256)v, (__m256i)index); }
inline vf round_near(vf x, vi* n) {
  const __m256 r = _mm256_round_ps((__m256)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  *n = (vi)_mm256_cvtps_epi32(r);
  return (vf)r;
}
inline vf scale_pow2(vf p, vf, vi n) { return (vf)((vi)p + (n << 23)); }
inline int pack_at_least(float* out, vf v, float threshold) {
  unsigned keep = static_cast<unsigned>(
      _mm256_movemask_ps(_mm256_cmp_ps((__m256)v, _mm256_set1_ps(threshold), _CMP_GE_OQ)));
  int n = 0;
  for (; keep; keep &= keep - 1) out[n++] = v[__builtin_ctz(keep)];
  return n;
}

// The first lane that is not 0, or kLanes; whether there is one.
inline int first_set(vi v) {
  const unsigned zero = static_cast<unsigned>(_mm256_movemask_ps((__m256)(v == 0)));
  return zero == 0xffu ? kLanes : __builtin_ctz(~zero);
}
inline bool any(vi v) { return !_mm256_testz_si256((__m256i)v, (__m256i)v); }

inline vw min_w(vw a, vw b) { return (vw)_mm256_min_epi16((__m256i)a, (__m256i)b); }
// v * gain / 2^16, for v >= 0.
inline vw scale_w(vw v, uint16_t gain) {
  return (vw)_mm256_mulhi_epu16((__m256i)v, _mm256_set1_epi16(static_cast<int16_t>(gain)));
}
// Bit i: whether p[i] differs from p[i + 1], for 32 values.
inline uint32_t changes(const int16_t* p) {
  const auto same = [p](int i) {
    return _mm256_cmpeq_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + i)),
                              _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + i + 1)));
  };
  const __m256i bytes = _mm256_permute4x64_epi64(_mm256_packs_epi16(same(0), same(16)), 0xd8);
  return ~static_cast<uint32_t>(_mm256_movemask_epi8(bytes));
}

inline vf vsqrt(vf v) { return (vf)_mm256_sqrt_ps((__m256)v); }
// kLanes bytes as integers, and back (the low bytes).
inline vi load_lanes(const uint8_t* p) {
  return (vi)_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
}
inline void store_lanes(uint8_t* p, vi v) {
  const __m256i low = _mm256_setr_epi8(0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 0, 4, 8, 12, -1, -1,
                                       -1, -1, -1, -1, -1, -1, -1, -1, -1, -1);
  const __m256i bytes = _mm256_shuffle_epi8((__m256i)v, low);
  _mm_storel_epi64(reinterpret_cast<__m128i*>(p),
                   _mm_unpacklo_epi32(_mm256_castsi256_si128(bytes), _mm256_extracti128_si256(bytes, 1)));
}

// 1 / x of a normal number, to 4e-7 of it.
inline vf about_inverse(vf x) {
  const vf first = (vf)_mm256_rcp_ps((__m256)x);
  return first + first * (1.0f - x * first);
}
// The bits of 64 bytes, from the top one down.
class ByteBits {
 public:
  explicit ByteBits(const uint8_t* p)
      : low_(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))),
        high_(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + 32))) {}
  uint64_t next() {
    const uint64_t low = static_cast<uint32_t>(_mm256_movemask_epi8(low_));
    const uint64_t high = static_cast<uint32_t>(_mm256_movemask_epi8(high_));
    low_ = _mm256_add_epi8(low_, low_);
    high_ = _mm256_add_epi8(high_, high_);
    return low | high << 32;
  }

 private:
  __m256i low_, high_;
};
typedef uint64_t vq __attribute__((vector_size(32)));
inline vq majority(vq a, vq b, vq c) { return (a & b) | (c & (a | b)); }
inline vq odd(vq a, vq b, vq c) { return a ^ b ^ c; }
constexpr int64_t kSlicedBins = 64;  // up to so many bins a channel, bit planes are counted faster than bytes

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
#include "kernels/histogram/split_16.inl"
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

}  // namespace avx2
}  // namespace alseg
