// The permutohedral lattice of an image: tiles find their vertices in parallel, then their lists become one, in the
// order of the tiles, so that the numbering does not depend on the number of threads.
#include "kernels/dense_crf/lattice.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <stdexcept>

#include "common/threads.h"
#include "isa/levels.h"
#include "kernels/dense_crf/vertex_table.h"

namespace alseg {
namespace {

constexpr int64_t kChunk = 1024;  // vertices of one task

// The most vertices that an image with its ring may have.
int64_t ring_limit(int64_t pixels) { return pixels / 4 + 65536; }

// Adds the neighbours of all vertices, so that the blur can pass through them: where a direction leads to a vertex
// that no pixel touches, what should have gone on from there in another direction would be lost. Not done where the
// image has so many vertices that they would cost more than the pixels.
void add_ring(std::vector<uint64_t>* keys, VertexTable* numbers, const uint64_t* step, int directions, int64_t limit) {
  const size_t touched = keys->size();
  if (static_cast<int64_t>(touched) > limit) return;
  const std::vector<uint64_t> first(*keys);
  numbers->reset(std::min(limit + 1, static_cast<int64_t>(touched) * (2 * directions + 1)));
  for (size_t v = 0; v < touched; ++v) numbers->insert(first[v], static_cast<int32_t>(v));
  for (size_t v = 0; v < touched && static_cast<int64_t>(keys->size()) <= limit; ++v) {
    for (int k = 0; k < 2 * directions && static_cast<int64_t>(keys->size()) <= limit; ++k) {
      const uint64_t key = k % 2 ? first[v] - step[k / 2] : first[v] + step[k / 2];
      const auto next = static_cast<int32_t>(keys->size());
      if (numbers->insert(key, next) == next) keys->push_back(key);
    }
  }
  if (static_cast<int64_t>(keys->size()) <= limit) return;
  keys->resize(touched);
  numbers->reset(static_cast<int64_t>(touched));
  for (size_t v = 0; v < touched; ++v) numbers->insert(first[v], static_cast<int32_t>(v));
}

// The scratch memory of one worker that finds simplices.
struct SlotMemory {
  std::vector<uint64_t> keys = std::vector<uint64_t>(kCrfMaxTable + kCrfMaxSlots + kCrfRecent);
  std::vector<uint32_t> order = std::vector<uint32_t>(kCrfRecent);
  std::vector<uint16_t> slots = std::vector<uint16_t>(kCrfMaxTable + 8 * kCrfRecent);
  CrfSlots view() {
    CrfSlots s{};
    s.table_key = keys.data();
    s.key = s.table_key + kCrfMaxTable;
    s.recent_key = s.key + kCrfMaxSlots;
    s.recent_order = order.data();
    s.table_slot = slots.data();
    s.recent_slots = slots.data() + kCrfMaxTable;
    return s;
  }
};

}  // namespace

void CrfVertices::list_slots() {
  first.resize(n + 1);
  slots.resize(n_slots);
  std::memset(first.data(), 0, static_cast<size_t>(n + 1) * sizeof(int64_t));
  for (int64_t s = 0; s < n_slots; ++s) ++first[of_slot[s] + 1];
  for (int64_t v = 0; v < n; ++v) first[v + 1] += first[v];
  for (int64_t s = 0; s < n_slots; ++s) slots[first[of_slot[s]]++] = static_cast<int32_t>(s);
  for (int64_t v = n; v > 0; --v) first[v] = first[v - 1];
  first[0] = 0;
}

CrfLattice::CrfLattice(const uint8_t* image, int64_t height, int64_t width, int channels, const CrfOptions& options)
    : height_(height), width_(width) {
  cut_tiles();
  if (options.bilateral) build_vertices(image, channels, *options.bilateral, options);
  if (options.gaussian) build_grid(*options.gaussian, options);
}

void CrfLattice::cut_tiles() {
  for (int64_t y = 0; y < height_; y += kCrfTile) {
    for (int64_t x = 0; x < width_; x += kCrfTile) {
      CrfTile tile{};
      tile.x0 = static_cast<int32_t>(x);
      tile.y0 = static_cast<int32_t>(y);
      tile.width = static_cast<int32_t>(std::min<int64_t>(kCrfTile, width_ - x));
      tile.height = static_cast<int32_t>(std::min<int64_t>(kCrfTile, height_ - y));
      tile.first_block = n_blocks_;
      n_blocks_ += tile.height * blocks_per_row(tile);
      tiles_.push_back(tile);
    }
  }
}

// Deviations of the features become distances between vertices as in the paper: the filter's own deviation is
// sqrt(2/3) (d + 1) in the space of the vertices.
void CrfLattice::build_vertices(const uint8_t* image, int channels, const CrfTerm& term, const CrfOptions& options) {
  const int d = 2 + channels;
  corners_ = d + 1;
  CrfSimplexJob job{};
  job.image = image;
  job.width = width_;
  job.channels = channels;
  double reach[5];
  for (int i = 0; i < d; ++i) {
    const double unit = std::sqrt(2.0 / 3.0) * (d + 1) / std::sqrt((i + 1.0) * (i + 2.0));
    const double scale = unit / (i < 2 ? term.sigma_xy : term.sigma_rgb);
    reach[i] = scale * static_cast<double>(i == 0 ? width_ : i == 1 ? height_ : 256);
    (i < 2 ? job.position_scale[i] : job.color_scale[i - 2]) = static_cast<float>(scale);
  }
  // Bounds of t[i] = (e[i] - e[d]) / (d + 1) and of what rounding, the simplex and its neighbours add.
  constexpr double kMargin = 8.0;
  int used[2] = {0, 0};
  uint64_t unit[5];
  for (int i = 0; i < d; ++i) {
    double least = 0.0, most = d * reach[d - 1];
    for (int j = i; j < d; ++j) most += reach[j];
    if (i > 0) least -= i * reach[i - 1];
    least = std::floor(least / (d + 1) - kMargin);
    most = std::ceil(most / (d + 1) + kMargin);
    const double bits = std::ceil(std::log2(most - least + 1.0));
    const int word = i / 3;
    if (!(bits + used[word] <= (word ? 31.0 : 32.0))) {
      throw std::range_error("a vertex of the lattice does not fit in 64 bits");
    }
    job.low[i] = static_cast<int32_t>(least);
    job.shift[i] = used[word];
    unit[i] = uint64_t{1} << (used[word] + 32 * word);
    used[word] += static_cast<int>(bits);
  }
  job.step[5] = 0;
  for (int i = 0; i < d; ++i) {
    job.step[i] = unit[i];
    job.step[5] -= unit[i];
  }

  slots_.resize(n_blocks_ * corners_ * kCrfBlock);
  weights_.resize(n_blocks_ * corners_ * kCrfBlock);
  const int64_t n_tiles = static_cast<int64_t>(tiles_.size());
  std::vector<std::vector<uint64_t>> keys(tiles_.size());
  const KernelTable& table = kernels();
  parallel_for(n_tiles, options.num_threads, [&](int64_t t) {
    thread_local SlotMemory memory;
    CrfSlots slots = memory.view();
    const int64_t at = tiles_[static_cast<size_t>(t)].first_block * corners_ * kCrfBlock;
    table.crf_tile_simplices(job, tiles_[static_cast<size_t>(t)], slots, slots_.data() + at, weights_.data() + at);
    keys[static_cast<size_t>(t)].assign(slots.key, slots.key + slots.n);
  });

  for (int64_t t = 0; t < n_tiles; ++t) {
    CrfTile& tile = tiles_[static_cast<size_t>(t)];
    tile.first_slot = vertices_.n_slots;
    tile.n_slots = static_cast<int64_t>(keys[static_cast<size_t>(t)].size());
    vertices_.n_slots += tile.n_slots;
  }
  if (vertices_.n_slots > INT32_MAX / 2) throw std::range_error("the image has too many vertices");
  vertices_.of_slot.resize(vertices_.n_slots);
  std::vector<uint64_t> vertex_keys;
  VertexTable numbers(vertices_.n_slots);
  int64_t slot = 0;
  for (const auto& list : keys) {
    for (const uint64_t key : list) {
      const auto next = static_cast<int32_t>(vertex_keys.size());
      const int32_t number = numbers.insert(key, next);
      if (number == next) vertex_keys.push_back(key);
      vertices_.of_slot[slot++] = number;
    }
  }
  uint64_t step[6];
  for (int k = 0; k < corners_; ++k) step[k] = job.step[k == d ? 5 : k];
  add_ring(&vertex_keys, &numbers, step, corners_, ring_limit(height_ * width_));
  vertices_.n = static_cast<int64_t>(vertex_keys.size());
  vertices_.list_slots();
  neighbours_.resize(corners_ * vertices_.n * 2);
  const auto missing = static_cast<int32_t>(vertices_.n);
  const int64_t chunks = (vertices_.n + kChunk - 1) / kChunk;
  parallel_for(chunks, options.num_threads, [&](int64_t chunk) {
    for (int k = 0; k < corners_; ++k) {
      int32_t* const pair = neighbours_.data() + k * vertices_.n * 2;
      for (int64_t v = chunk * kChunk; v < std::min((chunk + 1) * kChunk, vertices_.n); ++v) {
        pair[2 * v] = numbers.find(vertex_keys[static_cast<size_t>(v)] + step[k], missing);
        pair[2 * v + 1] = numbers.find(vertex_keys[static_cast<size_t>(v)] - step[k], missing);
      }
    }
  });
  normalise(term, options);
}

// Folds the normalisation and the weight of the term into the pixels' weights. Splatting and slicing use the same
// ones, so each takes a square root; messages come out in units of ln 2.
void CrfLattice::normalise(const CrfTerm& term, const CrfOptions& options) {
  const int d = corners_ - 1;
  const double scale = term.weight / std::log(2.0);
  const int64_t n_tiles = static_cast<int64_t>(tiles_.size()), n = vertices_.n;
  const int64_t tile_floats = int64_t{corners_} * kCrfBlock;
  if (!options.symmetric) {
    // Vertices lie (3/2)^(d/2) / sqrt(d + 1) apart in volume, in units of the deviations, and the blur multiplies by 2
    // a direction: this makes the sum over evenly spread pixels that of the Gaussian.
    const double volume = std::pow(1.5, 0.5 * d) / std::sqrt(d + 1.0) * std::pow(2.0, d + 1.0);
    const auto factor = static_cast<float>(std::sqrt(scale * std::pow(2.0 * M_PI, 0.5 * d) / volume));
    parallel_for(n_tiles, options.num_threads, [&](int64_t t) {
      const CrfTile& tile = tiles_[static_cast<size_t>(t)];
      float* const w = weights_.data() + tile.first_block * tile_floats;
      const int64_t count = tile.height * blocks_per_row(tile) * tile_floats;
      for (int64_t i = 0; i < count; ++i) w[i] *= factor;
    });
    return;
  }
  Buffer<float> mass(vertices_.n_slots), a(n + 1), b(n + 1);
  parallel_for(n_tiles, options.num_threads, [&](int64_t t) {
    const CrfTile& tile = tiles_[static_cast<size_t>(t)];
    float* const to = mass.data() + tile.first_slot;
    std::memset(to, 0, static_cast<size_t>(tile.n_slots) * sizeof(float));
    const int64_t begin = tile.first_block * tile_floats;
    const int64_t count = tile.height * blocks_per_row(tile) * tile_floats;
    for (int64_t i = begin; i < begin + count; ++i) to[slots_[i]] += weights_[i];
  });
  a[n] = b[n] = 0.0f;
  const int64_t chunks = (n + kChunk - 1) / kChunk;
  parallel_for(chunks, options.num_threads, [&](int64_t chunk) {
    for (int64_t v = chunk * kChunk; v < std::min((chunk + 1) * kChunk, n); ++v) {
      float sum = 0.0f;
      for (int64_t i = vertices_.first[v]; i < vertices_.first[v + 1]; ++i) sum += mass[vertices_.slots[i]];
      a[v] = sum;
    }
  });
  for (int k = 0; k < corners_; ++k) {
    const float* const in = k % 2 ? b.data() : a.data();
    float* const out = k % 2 ? a.data() : b.data();
    const int32_t* const pair = neighbours(k);
    parallel_for(chunks, options.num_threads, [&](int64_t chunk) {
      for (int64_t v = chunk * kChunk; v < std::min((chunk + 1) * kChunk, n); ++v) {
        out[v] = in[v] + 0.5f * (in[pair[2 * v]] + in[pair[2 * v + 1]]);
      }
    });
  }
  // An even number of directions: the result is in a.
  const auto root = static_cast<float>(std::sqrt(scale));
  parallel_for(n_tiles, options.num_threads, [&](int64_t t) {
    const CrfTile& tile = tiles_[static_cast<size_t>(t)];
    const int32_t* const vertex = vertices_.of_slot.data() + tile.first_slot;
    const int64_t blocks = tile.height * blocks_per_row(tile);
    for (int64_t block = tile.first_block; block < tile.first_block + blocks; ++block) {
      float* const w = weights_.data() + block * tile_floats;
      const uint16_t* const slot = slots_.data() + block * tile_floats;
      float sum[kCrfBlock] = {};
      for (int k = 0; k < corners_; ++k) {
        for (int i = 0; i < kCrfBlock; ++i) sum[i] += w[k * kCrfBlock + i] * a[vertex[slot[k * kCrfBlock + i]]];
      }
      for (int i = 0; i < kCrfBlock; ++i) sum[i] = sum[i] > 0.0f ? root / std::sqrt(sum[i]) : 0.0f;
      for (int k = 0; k < corners_; ++k) {
        for (int i = 0; i < kCrfBlock; ++i) w[k * kCrfBlock + i] *= sum[i];
      }
    }
  });
}

CrfView CrfLattice::view() const {
  CrfView v{};
  v.height = height_;
  v.width = width_;
  v.n_tiles = static_cast<int64_t>(tiles_.size());
  v.tiles = tiles_.data();
  v.corners = corners_;
  v.slots = slots_.data();
  v.weights = weights_.data();
  v.vertex_of_slot = vertices_.of_slot.data();
  v.grid = grid_;
  v.grid_width = grid_width_;
  v.column_node = column_node_.data();
  v.row_node = row_node_.data();
  v.column_weight = column_weight_.data();
  v.row_weight = row_weight_.data();
  return v;
}

}  // namespace alseg
