// Gaussian mixtures on a line by expectation maximisation.
#pragma once
#include <cstdint>
#include <vector>

#include "kernels/mixture/jobs.h"

namespace alseg {

struct MixtureOptions {
  double tolerance;
  int64_t max_iter;
  double variance_floor;  // added to every variance
  bool plain;             // neither accelerated, nor stopped by the parameters: by the gain of the log-likelihood
};

struct MixtureFit {
  double log_likelihood;  // mean over the weight, of the components that the last iteration began with
  int64_t n_iter;
  bool converged;
};

// Improves `components` in place. The weights of the points sum to 1.
MixtureFit fit_mixture(const MixturePoints& points, const MixtureOptions& options, std::vector<Gaussian>* components);

}  // namespace alseg
