// The level every CPU of the platform can run: 128-bit vectors in compiler-neutral form.
#include <cstdint>
#include <cstring>

#include "isa/levels.h"

#define ALSEG_ISA_NAME "baseline"

namespace alseg {
namespace baseline {
namespace {

constexpr int kLanes = 4;
constexpr int kBlocks = 2;
typedef float vf __attribute__((vector_size(16)));
typedef int32_t vi __attribute__((vector_size(16)));
typedef int16_t vw __attribute__((vector_size(16)));

inline vf vmax(vf a, vf b) { return a > b ? a : b; }
inline vf vmin(vf a, vf b) { return a < b ? a : b; }
inline vf permute(vf v, vi index) { return vf{v[index[0]], v[index[1]], v[index[2]], v[index[3]]}; }

// Nearest integer for |x| < 2^22, and its value as integer bits.
inline vf round_near(vf x, vi* n) {
  const vf magic = vf{} + 12582912.0f;  // 1.5 * 2^23
  const vf t = x + magic;
  *n = reinterpret_cast<vi>(t) - reinterpret_cast<vi>(magic);
  return t - magic;
}
inline vf scale_pow2(vf p, vf, vi n) { return reinterpret_cast<vf>(reinterpret_cast<vi>(p) + (n << 23)); }
inline int pack_at_least(float* out, vf v, float threshold) {
  int n = 0;
  for (int i = 0; i < kLanes; ++i) {
    out[n] = v[i];
    n += v[i] >= threshold;
  }
  return n;
}

// The first lane that is not 0, or kLanes; whether there is one.
inline int first_set(vi v) {
  int lane = 0;
  while (lane < kLanes && v[lane] == 0) ++lane;
  return lane;
}
inline bool any(vi v) {
  typedef int64_t pair __attribute__((vector_size(16)));
  const pair halves = reinterpret_cast<pair>(v);
  return (halves[0] | halves[1]) != 0;
}

inline vw min_w(vw a, vw b) { return a < b ? a : b; }
// v * gain / 2^16, for v >= 0.
inline vw scale_w(vw v, uint16_t gain) {
  typedef uint16_t words __attribute__((vector_size(16)));
  typedef uint32_t wide __attribute__((vector_size(32)));
  const wide product = __builtin_convertvector((words)v, wide) * uint32_t{gain};
  return (vw)__builtin_convertvector(product >> 16, words);
}
// Bit i: whether p[i] differs from p[i + 1], for 32 values.
inline uint32_t changes(const int16_t* p) {
  uint32_t bits = 0;
  for (int i = 0; i < 32; ++i) bits |= uint32_t{p[i] != p[i + 1]} << i;
  return bits;
}

inline vf vsqrt(vf v) {
  for (int i = 0; i < kLanes; ++i) v[i] = __builtin_sqrtf(v[i]);
  return v;
}
// kLanes bytes as integers, and back (the low bytes).
inline vi load_lanes(const uint8_t* p) { return vi{p[0], p[1], p[2], p[3]}; }
inline void store_lanes(uint8_t* p, vi v) {
  for (int i = 0; i < kLanes; ++i) p[i] = static_cast<uint8_t>(v[i]);
}

inline vf about_inverse(vf x) { return 1.0f / x; }
// The bits of 64 bytes, from the top one down.
class ByteBits {
 public:
  explicit ByteBits(const uint8_t* p) { std::memcpy(bytes_, p, sizeof bytes_); }
  uint64_t next() {
    uint64_t bits = 0;
    for (int i = 0; i < 8; ++i) {
      bits |= (bytes_[i] & 0x8080808080808080u) / 128 * 0x0102040810204080u >> 56 << 8 * i;
      bytes_[i] = (bytes_[i] & 0x7f7f7f7f7f7f7f7fu) << 1;
    }
    return bits;
  }

 private:
  uint64_t bytes_[8];
};
typedef uint64_t vq __attribute__((vector_size(16)));
inline vq majority(vq a, vq b, vq c) { return (a & b) | (c & (a | b)); }
inline vq odd(vq a, vq b, vq c) { return a ^ b ^ c; }
constexpr int64_t kSlicedBins = 8;  // up to so many bins a channel, bit planes are counted faster than bytes

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

}  // namespace baseline
}  // namespace alseg
