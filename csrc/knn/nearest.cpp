#include "knn/nearest.h"

#include <algorithm>
#include <limits>

#include "common/scratch.h"
#include "common/threads.h"

namespace alseg {

PointPanels::PointPanels(const KernelTable& table, const float* points, int64_t n, int64_t dim, int num_threads)
    : table_(&table), n_(n), size_(table.knn_panel_floats(dim)) {
  const int64_t width = table.knn_panel, n_panels = (n + width - 1) / width;
  panels_.resize(n_panels * size_);
  half_squares_.assign(static_cast<size_t>(n_panels * width), std::numeric_limits<float>::infinity());
  parallel_for(n_panels, num_threads, [&](int64_t i) {
    thread_local KeptMemory scratch;
    const int64_t first = i * width, end = std::min(first + width, n);
    table.knn_pack_points(points + first * dim, dim, end - first, scratch.room<float>(table.knn_panel_scratch(dim)),
                          panels_.data() + i * size_);
    for (int64_t k = first; k < end; ++k) {
      double sum = 0.0;
      for (int64_t j = 0; j < dim; ++j) sum += static_cast<double>(points[k * dim + j]) * points[k * dim + j];
      half_squares_[static_cast<size_t>(k)] = static_cast<float>(0.5 * sum);
    }
  });
}

void nearest_points(const KernelTable& table, const PointPanels& panels, const float* points, const HistRows& rows,
                    int64_t n, const double* weights, int num_threads, int32_t* nearest, float* distance) {
  constexpr int64_t kMostGroup = 64;
  const int64_t group = table.knn_group, pitch = table.knn_padded(rows.dim);
  constexpr int64_t kGroups = 16;  // of a task
  parallel_for((n + group * kGroups - 1) / (group * kGroups), num_threads, [&](int64_t task) {
    thread_local KeptMemory packed, embedded;
    float* const memory = packed.room<float>(rows.dim * group);
    float* const own = embedded.room<float>(group * pitch);
    int32_t which[kMostGroup], found[kMostGroup];
    for (int64_t first = task * group * kGroups; first < std::min(n, (task + 1) * group * kGroups); first += group) {
      const int64_t members = std::min(group, n - first);
      for (int64_t i = 0; i < members; ++i) {
        table.knn_embed_row(rows, first + i, weights, own + i * pitch);
        which[i] = static_cast<int32_t>(i);
      }
      table.knn_pack_group(own, pitch, which, members, rows.dim, memory);
      table.knn_nearest_point(panels.panel(0), memory, rows.dim, panels.half_squares(), panels.n(), found);
      for (int64_t i = 0; i < members; ++i) {
        nearest[first + i] = found[i];
        if (distance) distance[first + i] = table.knn_distance(own + i * pitch, points + found[i] * rows.dim, rows.dim);
      }
    }
  });
}

}  // namespace alseg
