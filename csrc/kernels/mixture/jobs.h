// Plain descriptions of the work on thresholds of activation maps. No Python, no STL.
#pragma once
#include <cstdint>

namespace alseg {

constexpr int kValueBits = 24;                  // a value in 0..1 is taken as an integer number of 2^-24
constexpr int kLeastBinBits = 5, kMostBinBits = 12;
constexpr float kValueSlack = 1e-3f;            // by which rounding may leave 0..1
constexpr int64_t kMomentChunk = int64_t{1} << 15;  // positions of one task
constexpr int64_t kMomentBlock = 1024;          // that are packed at once
constexpr int kMomentCopies = 4;                // of the counters, so that equal neighbours do not wait for each other

// Values of activation maps to counts and moments of bins: the largest of `planes` maps at each pixel.
struct MomentsJob {
  const float* values;                          // [images, planes, pixels]
  const float* weights;                         // [images, pixels] or null
  int64_t images, planes, pixels;
  int bin_bits;
  float least;                                  // smaller values are left out
};

constexpr unsigned kBadValue = 1u, kBadWeight = 2u;

// Points on a line with weights; padded to whole vectors by points of weight 0.
struct MixturePoints {
  const double *x, *weight;
  int64_t n;
};

constexpr int kMostComponents = 8;
constexpr int kMixturePad = 8;                  // doubles of the longest vector

struct Gaussian {
  double share, mean, variance;
};

// Parameters of one image's reliability.
struct ReliabilityJob {
  float threshold, threshold_rest;              // what rounding the first took off: near it the difference is small
  float below, above;                           // 1 / threshold, 1 / (1 - threshold)
  float least_ratio, offset, beta;              // offset: -ln alpha
};

}  // namespace alseg
