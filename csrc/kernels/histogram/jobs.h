// Plain description of the work of `color_histogram`. No Python, no STL.
#pragma once
#include <cstdint>

#include "kernels/jobs.h"

namespace alseg {

enum class HistogramSpace : int { rgb = 0, hsv = 1, lab = 2 };

constexpr int64_t kMostHistogramBins = 256, kMostJointBins = 32;

// One image of `color_histogram`. Strides are in bytes and may be of either sign, or 0.
struct HistogramJob {
  const uint8_t* image;                        // [H, W, 3]
  int64_t height, width;
  int64_t stride_h, stride_w, stride_c;
  const uint8_t* mask;                         // [H, W], counted where not 0; or null: all count
  HistogramSpace space;
  int64_t bins;                                // of a channel
  bool joint;                                  // bins^3 counters instead of 3 bins
  const uint64_t* to_xyz;                      // of lab: see SlicJob
  const uint32_t* ab;                          // of lab [3, 8192]: what X, Y, Z add to a * 2^6 and, 16 bits on, b * 2^7
  const uint8_t* lightness;                    // of lab [8192], by Y
};

inline int64_t histogram_dim(const HistogramJob& job) {
  return job.joint ? job.bins * job.bins * job.bins : 3 * job.bins;
}

// Pixels that are taken from the image to the counters at once.
constexpr int64_t kHistogramBlock = 8192;

// Weights along one axis of a resize, as 22-bit integers. `first` + k may lie beyond the source where weights are 0.
struct CubicTaps {
  const int32_t* first;                        // [out]
  const int32_t* weight;                       // [out, taps]
  int64_t taps;
};

constexpr int64_t kBelharbiHeight = 128, kBelharbiBins = 256, kBelharbiRows = 8;
constexpr int kBelharbiBits = 22;              // of the weights
constexpr int kBelharbiEdge = 1 << 18, kBelharbiEdgeStep = 5, kBelharbiOne = 1 << 16;

// One image of `belharbi_histogram`; strides in bytes.
struct BelharbiJob {
  const uint8_t* image;                        // [H, W, 3]
  int64_t height, width;
  int64_t stride_h, stride_w, stride_c;
  int64_t out_width;
  CubicTaps across;                            // weights [out_width, taps, 4], each repeated; taps a multiple of 4
  CubicTaps along;                             // of the 128 rows
  int32_t gaussian[3];                         // centre, side, corner
  const int32_t* shares;                       // [2^13 + 1] by the distance to the edge of a bin
  int64_t pitch;                               // bytes of a row of out_width pixels, and room for whole vectors
  uint8_t* rows;                               // [H, pitch] resized across
  uint8_t* small;                              // [128, pitch]
};

}  // namespace alseg
