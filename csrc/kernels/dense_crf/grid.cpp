// The Gaussian term: a regular grid of nodes, one deviation apart, that pixels reach by quadratic B-splines, and five
// taps between the nodes. A spline has variance 1/4 on either side; the taps make up the second and the fourth
// moment of the Gaussian. Everything is a product of a column's and a row's part, the normalisation too.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/dense_crf/lattice.h"

namespace alseg {
namespace {

struct Axis {
  std::vector<int32_t> node;
  std::vector<double> weight;  // [length, kCrfTaps]
  double taps[kCrfMaxRadius + 1] = {};
  int radius = 0;
  int64_t n_nodes = 0;
};

// Deviations below one pixel: the nodes are the pixels, and the taps the Gaussian itself.
Axis axis_of(int64_t length, double sigma) {
  Axis axis;
  axis.node.resize(static_cast<size_t>(length));
  axis.weight.assign(static_cast<size_t>(length * kCrfTaps), 0.0);
  const bool direct = sigma < 1.0;
  const double spacing = direct ? 1.0 : sigma;
  for (int64_t x = 0; x < length; ++x) {
    const double at = static_cast<double>(x) / spacing, near = std::floor(at + 0.5), f = at - near;
    double* const w = axis.weight.data() + x * kCrfTaps;
    axis.node[static_cast<size_t>(x)] = static_cast<int32_t>(near);  // of the three, with one before the first pixel
    if (direct) {
      w[1] = 1.0;
    } else {
      w[0] = 0.5 * (0.5 - f) * (0.5 - f);
      w[1] = 0.75 - f * f;
      w[2] = 0.5 * (0.5 + f) * (0.5 + f);
    }
  }
  axis.n_nodes = axis.node.back() + kCrfTaps;
  if (direct) {
    axis.radius = kCrfMaxRadius;
    for (int r = 0; r <= kCrfMaxRadius; ++r) axis.taps[r] = std::exp(-0.5 * r * r / (sigma * sigma));
  } else {
    // Variance 1 - 2/4; fourth cumulant against that of six boxes, -6/120.
    const double variance = 0.5, fourth = 3.0 * variance * variance + 0.05;
    axis.radius = 2;
    axis.taps[2] = (fourth - variance) / 24.0;
    axis.taps[1] = (variance - 8.0 * axis.taps[2]) / 2.0;
    axis.taps[0] = 1.0 - 2.0 * (axis.taps[1] + axis.taps[2]);
    // Pixels are one apart and nodes sigma: a sum over the pixels is sqrt(2 pi) sigma, as that of the Gaussian.
    for (double& tap : axis.taps) tap *= std::sqrt(2.0 * M_PI);
  }
  return axis;
}

// The filter applied to ones, which is D of the normalisation, at every pixel of the axis.
std::vector<double> row_sums(const Axis& axis) {
  std::vector<double> in(static_cast<size_t>(axis.n_nodes)), out(in.size()), sums(axis.node.size());
  for (size_t x = 0; x < axis.node.size(); ++x) {
    for (size_t k = 0; k < kCrfTaps; ++k) in[static_cast<size_t>(axis.node[x]) + k] += axis.weight[x * kCrfTaps + k];
  }
  for (int64_t i = 0; i < axis.n_nodes; ++i) {
    for (int64_t r = -axis.radius; r <= axis.radius; ++r) {
      const int64_t j = i + r;
      if (j < 0 || j >= axis.n_nodes) continue;
      out[static_cast<size_t>(i)] += axis.taps[std::abs(r)] * in[static_cast<size_t>(j)];
    }
  }
  for (size_t x = 0; x < axis.node.size(); ++x) {
    for (size_t k = 0; k < kCrfTaps; ++k) {
      sums[x] += axis.weight[x * kCrfTaps + k] * out[static_cast<size_t>(axis.node[x]) + k];
    }
  }
  return sums;
}

// Weights that splat and slice: the normalisation and `scale` belong half to each.
std::vector<float> weights_of(const Axis& axis, bool symmetric, double scale) {
  const std::vector<double> sums = row_sums(axis);
  std::vector<float> weights(axis.weight.size());
  for (size_t i = 0; i < weights.size(); ++i) {
    const double norm = symmetric ? std::sqrt(scale / sums[i / kCrfTaps]) : std::sqrt(scale);
    weights[i] = static_cast<float>(axis.weight[i] * norm);
  }
  return weights;
}

}  // namespace

void CrfLattice::build_grid(const CrfTerm& term, const CrfOptions& options) {
  grid_ = true;
  const Axis columns = axis_of(width_, term.sigma_xy), rows = axis_of(height_, term.sigma_xy);
  column_node_ = columns.node;
  row_node_ = rows.node;
  column_weight_ = weights_of(columns, options.symmetric, term.weight / std::log(2.0));
  row_weight_ = weights_of(rows, options.symmetric, 1.0);
  radius_ = columns.radius;
  for (int r = 0; r <= kCrfMaxRadius; ++r) taps_[r] = static_cast<float>(columns.taps[r]);
  grid_width_ = columns.n_nodes;
  grid_height_ = rows.n_nodes;
  nodes_.n = grid_width_ * grid_height_;
  for (CrfTile& tile : tiles_) {
    tile.first_node = nodes_.n_slots;
    tile.node_x = column_node_[static_cast<size_t>(tile.x0)];
    tile.node_y = row_node_[static_cast<size_t>(tile.y0)];
    tile.node_columns = column_node_[static_cast<size_t>(tile.x0 + tile.width - 1)] + kCrfTaps - tile.node_x;
    tile.node_rows = row_node_[static_cast<size_t>(tile.y0 + tile.height - 1)] + kCrfTaps - tile.node_y;
    nodes_.n_slots += int64_t{tile.node_rows} * tile.node_columns;
  }
  nodes_.of_slot.resize(nodes_.n_slots);
  int64_t slot = 0;
  for (const CrfTile& tile : tiles_) {
    for (int64_t y = 0; y < tile.node_rows; ++y) {
      for (int64_t x = 0; x < tile.node_columns; ++x) {
        nodes_.of_slot[slot++] = static_cast<int32_t>((tile.node_y + y) * grid_width_ + tile.node_x + x);
      }
    }
  }
  nodes_.list_slots();
}

}  // namespace alseg
