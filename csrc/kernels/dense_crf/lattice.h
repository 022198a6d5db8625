// The part of a dense CRF that depends on the image alone: built once, read by any number of calls and threads.
#pragma once
#include <cstdint>
#include <vector>

#include "common/buffers.h"
#include "kernels/dense_crf/jobs.h"

namespace alseg {

// Vertices (or nodes) of the whole image, and the slots of the tiles that stand for each.
struct CrfVertices {
  int64_t n = 0, n_slots = 0;
  Buffer<int32_t> of_slot;     // [n_slots]
  Buffer<int64_t> first;       // [n + 1] into `slots`
  Buffer<int32_t> slots;       // [n_slots] by vertex, then by tile

  // Fills `first` and `slots` from `of_slot`.
  void list_slots();
};

struct CrfTerm {
  double sigma_xy, sigma_rgb, weight;  // sigma_rgb is not read for the Gaussian term
};

struct CrfOptions {
  const CrfTerm* gaussian;     // or null
  const CrfTerm* bilateral;    // or null
  bool symmetric;              // D^-1/2 K D^-1/2 with D = K 1; else K itself
  int num_threads;
};

class CrfLattice {
 public:
  // image [height, width, channels], 1 or 3 channels. Throws std::range_error where the deviations are so small that
  // a vertex does not fit in 64 bits.
  CrfLattice(const uint8_t* image, int64_t height, int64_t width, int channels, const CrfOptions& options);

  CrfView view() const;
  int64_t height() const { return height_; }
  int64_t width() const { return width_; }
  const std::vector<CrfTile>& tiles() const { return tiles_; }
  const CrfVertices& vertices() const { return vertices_; }
  const CrfVertices& nodes() const { return nodes_; }
  int corners() const { return corners_; }
  int64_t grid_width() const { return grid_width_; }
  int64_t grid_height() const { return grid_height_; }
  const int32_t* neighbours(int direction) const { return neighbours_.data() + direction * vertices_.n * 2; }
  const float* taps() const { return taps_; }
  int radius() const { return radius_; }

 private:
  void cut_tiles();
  void build_vertices(const uint8_t* image, int channels, const CrfTerm& term, const CrfOptions& options);
  void normalise(const CrfTerm& term, const CrfOptions& options);
  void build_grid(const CrfTerm& term, const CrfOptions& options);

  int64_t height_, width_, n_blocks_ = 0;
  std::vector<CrfTile> tiles_;
  int corners_ = 0;
  CrfVertices vertices_;
  Buffer<uint16_t> slots_;
  Buffer<float> weights_;
  Buffer<int32_t> neighbours_;  // [corners, n, 2]; n stands for a vertex of zeros
  CrfVertices nodes_;
  bool grid_ = false;
  int64_t grid_width_ = 0, grid_height_ = 0;
  std::vector<int32_t> column_node_, row_node_;
  std::vector<float> column_weight_, row_weight_;
  float taps_[kCrfMaxRadius + 1] = {};
  int radius_ = 0;
};

}  // namespace alseg
