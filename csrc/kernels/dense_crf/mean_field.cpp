#include "kernels/dense_crf/mean_field.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <vector>

#include "common/threads.h"
#include "isa/levels.h"
#include "kernels/dense_crf/thread_floats.h"

namespace alseg {
namespace {

constexpr int64_t kVertices = 256;  // of one task

// The values of the vertices (or nodes) of one term, before and after a step of a filter, and the tiles' parts of them.
struct Values {
  Buffer<float> slots, a, b;
  Values(const CrfVertices& vertices, int64_t pitch)
      : slots(vertices.n_slots * pitch), a((vertices.n + 1) * pitch), b((vertices.n + 1) * pitch) {
    std::memset(a.data() + vertices.n * pitch, 0, static_cast<size_t>(pitch) * sizeof(float));
    std::memset(b.data() + vertices.n * pitch, 0, static_cast<size_t>(pitch) * sizeof(float));
  }
};

class Filter {
 public:
  Filter(const CrfLattice& lattice, const CrfProblem& problem, int64_t pitch)
      : lattice_(lattice), problem_(problem), pitch_(pitch), table_(kernels()), in_lattice_(lattice.vertices(), pitch),
        in_grid_(lattice.nodes(), pitch) {
    if (!problem.penalty) return;
    penalty_.assign(static_cast<size_t>(problem.n_classes * pitch), 0.0f);
    for (int64_t c = 0; c < problem.n_classes; ++c) {
      std::copy_n(problem.penalty + c * problem.n_classes, problem.n_classes, penalty_.begin() + c * pitch);
    }
  }

  float* lattice_slots() const { return in_lattice_.slots.data(); }
  float* node_slots() const { return in_grid_.slots.data(); }
  const float* lattice() const { return in_lattice_.a.data(); }
  const float* nodes() const { return in_grid_.a.data(); }

  // From the slots to lattice() and nodes().
  void run() {
    collect(lattice_.vertices(), in_lattice_);
    collect(lattice_.nodes(), in_grid_);
    for (int k = 0; k < lattice_.corners(); ++k) {
      const float* const in = k % 2 ? in_lattice_.b.data() : in_lattice_.a.data();
      float* const out = k % 2 ? in_lattice_.a.data() : in_lattice_.b.data();
      const int32_t* const neighbours = lattice_.neighbours(k);
      each(lattice_.vertices().n, kVertices, [&](int64_t begin, int64_t end) {
        table_.crf_blur_lattice(in, neighbours, begin, end, pitch_, out);
      });
    }
    if (lattice_.nodes().n > 0) blur_grid();
    if (problem_.penalty) {
      penalise(lattice_.vertices(), in_lattice_);
      penalise(lattice_.nodes(), in_grid_);
    }
  }

 private:
  template <typename Body>
  void each(int64_t n, int64_t step, const Body& body) {
    parallel_for((n + step - 1) / step, problem_.num_threads,
                 [&](int64_t chunk) { body(chunk * step, std::min((chunk + 1) * step, n)); });
  }

  void collect(const CrfVertices& vertices, const Values& values) {
    each(vertices.n, kVertices, [&](int64_t begin, int64_t end) {
      table_.crf_collect(values.slots.data(), vertices.first.data(), vertices.slots.data(), begin, end, pitch_,
                         values.a.data());
    });
  }

  void blur_grid() {
    const int64_t width = lattice_.grid_width(), height = lattice_.grid_height(), row = width * pitch_;
    const float* const taps = lattice_.taps();
    each(height, 4, [&](int64_t begin, int64_t end) {
      for (int64_t y = begin; y < end; ++y) {
        table_.crf_blur_line(in_grid_.a.data() + y * row, width, 0, width, pitch_, pitch_, taps, lattice_.radius(),
                             in_grid_.b.data() + y * row);
      }
    });
    each(height, 4, [&](int64_t begin, int64_t end) {
      table_.crf_blur_line(in_grid_.b.data(), height, begin, end, row, row, taps, lattice_.radius(), in_grid_.a.data());
    });
  }

  void penalise(const CrfVertices& vertices, const Values& values) {
    each(vertices.n, kVertices, [&](int64_t begin, int64_t end) {
      thread_local std::vector<float> scratch;
      if (scratch.size() < static_cast<size_t>(pitch_)) scratch.resize(static_cast<size_t>(pitch_));
      table_.crf_penalise(values.a.data(), begin, end, problem_.n_classes, pitch_, penalty_.data(), scratch.data());
    });
  }

  const CrfLattice& lattice_;
  const CrfProblem& problem_;
  const int64_t pitch_;
  const KernelTable& table_;
  Values in_lattice_, in_grid_;
  std::vector<float> penalty_;
};

}  // namespace

unsigned infer_mean_field(const CrfLattice& lattice, const CrfProblem& problem) {
  const KernelTable& table = kernels();
  const int64_t pitch = table.crf_pitch(problem.n_classes);
  Filter filter(lattice, problem, pitch);
  CrfSweep job{};
  job.view = lattice.view();
  job.n_classes = problem.n_classes;
  job.pitch = pitch;
  job.unary = problem.unary;
  job.source = problem.source;
  job.confidence = problem.confidence;
  job.common_confidence = problem.common_confidence;
  job.unsure = problem.unsure;
  job.clip = problem.clip;
  job.tolerance = problem.tolerance;
  job.clamp = problem.clamp;
  job.lattice = filter.lattice();
  job.nodes = filter.nodes();
  job.lattice_slots = filter.lattice_slots();
  job.node_slots = filter.node_slots();
  job.out = problem.out;
  const std::vector<CrfTile>& tiles = lattice.tiles();
  for (int sweep = 0; sweep <= problem.n_iter; ++sweep) {
    job.first = sweep == 0;
    job.slice = !job.first;
    job.last = sweep == problem.n_iter;
    job.splat = !job.last;
    std::atomic<unsigned> status{0};
    parallel_for(static_cast<int64_t>(tiles.size()), problem.num_threads, [&](int64_t t) {
      const CrfTile& tile = tiles[static_cast<size_t>(t)];
      status |= table.crf_sweep_tile(job, tile, thread_floats(table.crf_sweep_scratch(job, tile)));
    });
    if (status) return status;
    if (!job.last) filter.run();
  }
  return 0;
}

}  // namespace alseg
