// The bilateral filter of a lattice as a linear operator.
#pragma once
#include "kernels/dense_crf/lattice.h"

namespace alseg {

// out = K in for planes [n, H, W], which may be the same. K is the bilateral kernel of the lattice, weight and
// normalisation included. The blur along the directions of the lattice does not quite commute, so K is not quite
// symmetric; `transpose`: its exact transpose (up to rounding), which blurs in the opposite order. The lattice must have
// a bilateral term; a Gaussian one is not looked at.
void filter_planes(const CrfLattice& lattice, const float* in, int64_t n, bool transpose, int num_threads, float* out);

}  // namespace alseg
