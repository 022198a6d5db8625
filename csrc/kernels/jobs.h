// Plain descriptions of the work handed from the bindings to the kernels. No Python, no STL.
#pragma once
#include <cstdint>

namespace alseg {

enum class Dtype : int { f32 = 0, f16 = 1, bf16 = 2, u8 = 3 };
enum class Activation : int { softmax = 0, sigmoid = 1, probabilities = 2 };

// Bits of UncertaintyJob::measures; the index of a measure is its bit's position.
constexpr int kMeasures = 7;
enum Measure : int {
  mEntropy, mMargin, mLeastConfidence, mExpectedEntropy, mMutualInformation, mVariance, mVariationRatio
};
constexpr unsigned bit_of(Measure m) { return 1u << m; }
// Those that compare passes with each other: 0 where there is one pass.
constexpr unsigned kComparing = bit_of(mMutualInformation) | bit_of(mVariance) | bit_of(mVariationRatio);

// Bits of ChunkSums::status.
constexpr unsigned kNotFinite = 1u, kOutOfRange = 2u, kBadSegment = 4u;

// One image of `uncertainty`: logits [T, C, h, w] -> maps [H, W].
struct UncertaintyJob {
  const void* logits;
  Dtype dtype;
  int64_t n_passes, n_classes, in_h, in_w;     // T, C, h, w
  int64_t stride_t, stride_c, stride_h, stride_w;  // in elements
  int64_t out_h, out_w;                        // H, W
  const int32_t* x_index;                      // [padded W] left neighbour, non-decreasing, in [0, w - 1]
  const float* x_frac;                         // [padded W] weight of the right neighbour; 0 where there is none
  const int32_t* y_index;                      // [H]
  const float* y_frac;                         // [H]
  Activation activation;
  float inverse_temperature;
  unsigned measures;
  float* maps[kMeasures];                      // [H, W] each, or null
  void* labels;                                // [H, W] or null
  int label_bytes;                             // 1 or 2
  const uint8_t* valid;                        // [H, W] 0 or 1, or null: all count
  const int32_t* segments;                     // [H, W] ids, or null
  int64_t n_segments;                          // S
  bool class_stats;
  bool sums;                                   // whether ChunkSums::sum and ::max are wanted
};

// x_index and x_frac are readable to this many entries past W (the widest block of any level).
constexpr int64_t kColumnPad = 64;

// pack_values writes whole vectors, so its output needs room for one past the last value.
constexpr int64_t kPackPad = 16;

// Sums over the segments of one image, shared by all its chunks. They are integers (a measure times `scale`,
// rounded), so that the order of additions, and with it the number of threads, does not change a bit.
struct SegmentSums {
  int64_t* area;        // [S] valid pixels
  int64_t* sum;         // [kMeasures, S]
  int64_t* class_count; // [S, n_labels] or null
  double scale;
  bool shared;          // whether several threads add to them at once
};

// Partial results of one chunk of rows. Chunks are cut by shape alone and added in order, which is what
// makes the result the same for any number of threads.
struct ChunkSums {
  double* sum;          // [kMeasures]
  float* max;           // [kMeasures]
  int64_t* class_count; // [n_labels] or null
  double* class_sum;    // [kMeasures, n_labels] or null
  int64_t* n_valid;
  unsigned* status;
  SegmentSums segments; // area is null where there are none
};

// A binary problem with one output channel has two labels.
inline int64_t n_labels(const UncertaintyJob& job) { return job.n_classes == 1 ? 2 : job.n_classes; }

// Sums over the pixels of a chunk and all passes of a foreground probability p (one class).
struct ForegroundSums {
  double p, p_squared;   // of p - 1/2, which loses no digit of a small variance
  double p_log_p;        // of p ln p
  unsigned status;
};

// One image of `region_impurity`: labels [H, W] -> share entropy in windows, times the mean entropy.
struct ImpurityJob {
  const void* labels;
  int label_bytes;                             // 1 or 2
  const float* entropy;                        // [H, W] or null: the impurity alone
  const uint8_t* valid;                        // [H, W] 0 or 1, or null
  int64_t height, width;
  int64_t n_classes;
  int64_t radius_y, radius_x;                  // the window is 2 radius + 1, cut at the border
  float* out;                                  // [H, W]
};

// One image of `edge_map`: gradient of [H, W] or of the luma of [H, W, 3], or changes of label.
struct EdgeJob {
  const uint8_t* image;                        // null: labels
  int64_t channels;                            // 1 or 3
  const int32_t* labels;
  int64_t height, width;
  float threshold;
  uint8_t* out;                                // [H, W] 0 or 1
};

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

// One image of `region_probs`: scores [T, C, P] -> probabilities [P, L], P pixels of the model's own resolution.
struct ClassProbsJob {
  const float* scores;
  int64_t n_passes, n_classes, pixels;
  int64_t n_labels;                            // C; 2 for one channel
  Activation activation;
  float* probs;
};

// Rows of classes are this many floats long, or a multiple: whole vectors of every level.
constexpr int64_t kCrfPad = 16;

// Mean field over a graph of S regions with C classes, rows [pitch] padded beyond C.
struct RegionCrfJob {
  int64_t n_classes, pitch;
  const float* unary;                          // [S, pitch] probabilities, 0 in the padding
  const int64_t* first;                        // [S + 1] first edge of each region
  const int32_t* neighbour;                    // [edges] both directions
  const float* weight;                         // [edges]
  const float* penalty;                        // [C, pitch] of the neighbour's label, then the own; null: Potts
  const float* padding;                        // [pitch] 0, and a large energy beyond C
  const int32_t* clamp;                        // [S] a class or -1, or null
};

// What the cube root f of one of X, Y, Z adds to CIELAB.
struct SlicRoot {
  int16_t lightness;                           // 2.55 L
  int16_t of_a;                                // 500 f, times 2^6
  int16_t of_b;                                // 200 f, times 2^7
  int16_t unused;
};

// A stretch of one row that one cluster holds: from `x` to the next run's x, or to the end of the row.
struct SlicRun {
  int32_t x;
  int32_t cluster;                             // -1: outside the mask
};

struct SlicCentre {
  int32_t x, y;                                // in quarters of a pixel
  int16_t color[3];                            // times 2^color_shift
  uint16_t gain;                               // adaptive: 2^16 times the factor of the colour distance
};

struct SlicSums {
  int64_t count, color[3], x, y;
  int32_t farthest;                            // adaptive: the largest colour distance
};

// Pixels in a block whose nearest centre is searched at once. It is part of the definition: the centres compared
// are those of the cells that the block touches and of the cells around them.
constexpr int64_t kSlicBlock = 32;

// One image of `slic`. Clusters are numbered along bands of rows; band b holds cluster band_clusters[b] and on.
struct SlicJob {
  const uint8_t* image;                        // [H, W, channels]
  int64_t channels;                            // 1 or 3
  const uint64_t* to_xyz;                      // [3, 256] shares of X, Y, Z (21 bits each), or null: no conversion
  const SlicRoot* roots;                       // [8192] by share of white
  const uint8_t* mask;                         // [H, W] 0 or 1, or null
  int64_t height, width, pitch;
  uint8_t* planes;                             // [H, 3, pitch]
  uint64_t* prefix;                            // [sampled rows, W + 1] running sums, 20 bits a channel
  int64_t row_step;                            // every so many rows are sampled
  int64_t n_bands, n_clusters;
  const int32_t* band_rows;                    // [n_bands + 1]
  const int32_t* band_clusters;                // [n_bands + 1]
  int color_shift;
  bool adaptive, blur;
  const int16_t* spatial[4];                   // [-reach ... reach] cost of a pixel's distance to a centre along one
                                               // axis, for a centre so many quarters after a pixel
  const SlicCentre* centres;                   // [K]
  const uint8_t* active;                       // [K] whether the cell holds a pixel of the mask
  SlicSums* sums;                              // [3, K]: what the band above, the own and the band below add
  SlicRun* runs;                               // [H * W]; a band's begin at its first pixel
  int32_t* row_runs;                           // [H, 2] first and past the last run of each row
};

inline int64_t slic_samples(const SlicJob& job) {  // of the rows row_step / 2, row_step / 2 + row_step ...
  return (job.height - job.row_step / 2 + job.row_step - 1) / job.row_step;
}
// First pixel of cell `i` of `n` along `extent` pixels, and the cell of pixel `x`.
inline int64_t slic_cell_begin(int64_t i, int64_t n, int64_t extent) { return extent * i / n; }
inline int64_t slic_cell_of(int64_t x, int64_t n, int64_t extent) { return ((x + 1) * n - 1) / extent; }

}  // namespace alseg
