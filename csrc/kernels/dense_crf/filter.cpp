#include "kernels/dense_crf/filter.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "common/threads.h"
#include "isa/levels.h"
#include "kernels/dense_crf/thread_floats.h"

namespace alseg {
namespace {

constexpr int64_t kVertices = 256;  // of one task

}  // namespace

void filter_planes(const CrfLattice& lattice, const float* in, int64_t n, bool transpose, int num_threads, float* out) {
  const KernelTable& table = kernels();
  const CrfVertices& vertices = lattice.vertices();
  const int64_t pitch = table.crf_pitch(n);
  Buffer<float> slots(vertices.n_slots * pitch), a((vertices.n + 1) * pitch), b((vertices.n + 1) * pitch);
  for (float* const values : {a.data(), b.data()})  // what stands for a missing vertex
    std::memset(values + vertices.n * pitch, 0, static_cast<size_t>(pitch) * sizeof(float));
  CrfSweep job{};
  job.view = lattice.view();
  job.n_classes = n;
  job.pitch = pitch;
  job.source = in;
  job.lattice_slots = slots.data();
  job.out = out;
  const std::vector<CrfTile>& tiles = lattice.tiles();
  const auto each_tile = [&] {
    parallel_for(static_cast<int64_t>(tiles.size()), num_threads, [&](int64_t t) {
      const CrfTile& tile = tiles[static_cast<size_t>(t)];
      table.crf_filter_tile(job, tile, thread_floats((2 * kCrfBlock + tile.n_slots) * pitch));
    });
  };
  const auto each_vertex = [&](const auto& body) {
    parallel_for((vertices.n + kVertices - 1) / kVertices, num_threads, [&](int64_t chunk) {
      body(chunk * kVertices, std::min((chunk + 1) * kVertices, vertices.n));
    });
  };
  job.splat = true;
  each_tile();
  each_vertex([&](int64_t begin, int64_t end) {
    table.crf_collect(slots.data(), vertices.first.data(), vertices.slots.data(), begin, end, pitch, a.data());
  });
  float *from = a.data(), *to = b.data();
  for (int k = 0; k < lattice.corners(); ++k) {
    const int32_t* const neighbours = lattice.neighbours(transpose ? lattice.corners() - 1 - k : k);
    each_vertex([&](int64_t begin, int64_t end) {
      table.crf_blur_lattice(from, neighbours, begin, end, pitch, to);
    });
    std::swap(from, to);
  }
  job.splat = false;
  job.slice = true;
  job.lattice = from;
  each_tile();
}

}  // namespace alseg
