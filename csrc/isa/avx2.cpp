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

// Whether any lane is not 0.
inline bool any(vi v) { return !_mm256_testz_si256((__m256i)v, (__m256i)v); }

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
#include "kernels/dense_crf/simplex.inl"
#include "kernels/dense_crf/blur.inl"
#include "kernels/dense_crf/transpose.inl"
#include "kernels/dense_crf/unary.inl"
#include "kernels/dense_crf/sweep.inl"

}  // namespace

#include "kernels/table.inl"

}  // namespace avx2
}  // namespace alseg
