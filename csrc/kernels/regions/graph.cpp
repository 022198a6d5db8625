#include "kernels/regions/graph.h"

#include <algorithm>
#include <cmath>

namespace alseg {

RegionGraph make_graph(const int32_t* pairs, const int64_t* lengths, int64_t n_pairs, const float* colors,
                       int64_t n_regions, double weight, double sigma) {
  RegionGraph graph;
  graph.first.assign(static_cast<size_t>(n_regions + 1), 0);
  graph.neighbour.resize(static_cast<size_t>(2 * n_pairs));
  graph.weight.resize(static_cast<size_t>(2 * n_pairs));
  std::vector<double> border(static_cast<size_t>(n_regions), 0.0);
  for (int64_t e = 0; e < 2 * n_pairs; ++e) {
    const size_t i = static_cast<size_t>(pairs[e]);
    border[i] += static_cast<double>(lengths[e / 2]);
    ++graph.first[i];
  }
  int64_t next = 0;
  for (int64_t& at : graph.first) {
    const int64_t count = at;
    at = next;
    next += count;
  }
  const double scale = -0.5 / (sigma * sigma);
  for (int64_t e = 0; e < n_pairs; ++e) {
    const int32_t ends[2] = {pairs[2 * e], pairs[2 * e + 1]};
    double distance = 0.0;
    for (int c = 0; c < 3; ++c) {
      const double d = static_cast<double>(colors[3 * int64_t{ends[0]} + c]) - colors[3 * int64_t{ends[1]} + c];
      distance += d * d;
    }
    const double norm = std::sqrt(border[static_cast<size_t>(ends[0])] * border[static_cast<size_t>(ends[1])]);
    const double w = weight * static_cast<double>(lengths[e]) / norm * std::exp(distance * scale);
    for (int k = 0; k < 2; ++k) {
      const size_t to = static_cast<size_t>(graph.first[static_cast<size_t>(ends[k])]++);
      graph.neighbour[to] = ends[1 - k];
      graph.weight[to] = static_cast<float>(w);
    }
  }
  std::copy_backward(graph.first.begin(), graph.first.end() - 1, graph.first.end());
  graph.first[0] = 0;
  return graph;
}

}  // namespace alseg
