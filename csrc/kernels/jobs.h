// Plain descriptions of the work handed from the bindings to the kernels. No Python, no STL.
#pragma once
#include <cstdint>

namespace alseg {

enum class Dtype : int { f32 = 0, f16 = 1, bf16 = 2, u8 = 3 };
enum class Activation : int { softmax = 0, sigmoid = 1, probabilities = 2 };

// Bits of UncertaintyJob::measures; the index of a measure is its bit's position.
constexpr int kMeasures = 3;
constexpr unsigned kEntropy = 1u, kMargin = 2u, kLeastConfidence = 4u;

// Bits of ChunkSums::status.
constexpr unsigned kNotFinite = 1u, kOutOfRange = 2u;

// One image of `uncertainty`: logits [C, h, w] -> maps [H, W].
struct UncertaintyJob {
  const void* logits;
  Dtype dtype;
  int64_t n_classes, in_h, in_w;               // C, h, w
  int64_t stride_c, stride_h, stride_w;        // in elements
  int64_t out_h, out_w;                        // H, W
  const int32_t* x_index;                      // [padded W] left neighbour, non-decreasing, in [0, w - 1]
  const float* x_frac;                         // [padded W] weight of the right neighbour; 0 where there is none
  const int32_t* y_index;                      // [H]
  const float* y_frac;                         // [H]
  Activation activation;
  unsigned measures;
  float* maps[kMeasures];                      // [H, W] each, or null
  void* labels;                                // [H, W] or null
  int label_bytes;                             // 1 or 2
  bool class_stats;
  bool sums;                                   // whether ChunkSums::sum and ::max are wanted
};

// x_index and x_frac are readable to this many entries past W (the widest block of any level).
constexpr int64_t kColumnPad = 64;

// pack_values writes whole vectors, so its output needs room for one past the last value.
constexpr int64_t kPackPad = 16;

// Partial results of one chunk of rows. Chunks are cut by shape alone and added in order, which is what
// makes the result the same for any number of threads.
struct ChunkSums {
  double* sum;          // [kMeasures]
  float* max;           // [kMeasures]
  int64_t* class_count; // [n_labels] or null
  double* class_sum;    // [kMeasures, n_labels] or null
  unsigned* status;
};

// A binary problem with one output channel has two labels.
inline int64_t n_labels(const UncertaintyJob& job) { return job.n_classes == 1 ? 2 : job.n_classes; }

// One image of `resize_normalize`: uint8 [h, w, 3] -> [H, W] planes or interleaved, x * gain + bias.
struct ResizeJob {
  const uint8_t* image;
  int64_t in_h, in_w, row_stride;              // bytes between rows; pixels are 3 bytes
  int64_t out_h, out_w;                        // of the resized picture, not of the padded output
  int32_t x_taps, y_taps;
  const int32_t* x_index;                      // [W] first source column, first + taps <= w
  const float* x_weight;                       // [W, x_taps]
  const int32_t* y_index;                      // [H]
  const float* y_weight;                       // [y_taps, H]
  float gain[3], bias[3];                      // per output channel
  int32_t source_channel[3];                   // output channel -> RGB channel
  void* out;                                   // element (channel 0, row 0, column 0) of the resized picture
  Dtype out_dtype;                             // f32, f16 or u8
  int64_t out_stride_c, out_stride_h, out_stride_w;  // in elements
};

}  // namespace alseg
