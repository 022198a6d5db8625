// Mean field inference of a dense CRF on a lattice.
#pragma once
#include "kernels/dense_crf/lattice.h"

namespace alseg {

struct CrfProblem {
  int64_t n_classes;
  CrfUnary unary;
  const void* source;          // float [C, H, W] or int32 [H, W]
  const float* confidence;     // [H, W] or null
  float common_confidence;
  int32_t unsure;
  float clip, tolerance;
  const int32_t* clamp;        // [H, W] or null
  const float* penalty;        // [C, C] symmetric, or null: Potts
  int n_iter, num_threads;
  float* out;                  // [C, H, W]; may be `source`
};

// Status bits (kCrf...); where one is set, `out` holds nothing of use.
unsigned infer_mean_field(const CrfLattice& lattice, const CrfProblem& problem);

}  // namespace alseg
