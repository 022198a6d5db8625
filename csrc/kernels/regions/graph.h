// The graph of neighbouring regions, with weights that fall with the contrast between them.
#pragma once
#include <cstdint>
#include <vector>

namespace alseg {

// Edges of region i: first[i]..first[i + 1] - 1, each pair in both directions.
struct RegionGraph {
  std::vector<int64_t> first;  // [S + 1]
  std::vector<int32_t> neighbour;
  std::vector<float> weight;
};

// w_ij = weight L_ij / sqrt(P_i P_j) exp(-|c_i - c_j|^2 / (2 sigma^2)), P_i the sum of region i's border lengths.
// pairs [E, 2] of different ids below n_regions, lengths [E] > 0, colors [S, 3].
RegionGraph make_graph(const int32_t* pairs, const int64_t* lengths, int64_t n_pairs, const float* colors,
                       int64_t n_regions, double weight, double sigma);

}  // namespace alseg
