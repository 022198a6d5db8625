// The nearest of some points to each embedded row.
#pragma once
#include <cstdint>
#include <vector>

#include "common/buffers.h"
#include "isa/levels.h"
#include "kernels/knn/jobs.h"

namespace alseg {

// Points [n, dim] in the order that tiles multiply.
class PointPanels {
 public:
  PointPanels(const KernelTable& table, const float* points, int64_t n, int64_t dim, int num_threads);

  int64_t n() const { return n_; }
  const float* panel(int64_t first) const { return panels_.data() + first / table_->knn_panel * size_; }
  const float* half_squares() const { return half_squares_.data(); }  // infinite for what pads the last panel

 private:
  const KernelTable* table_;
  int64_t n_, size_;
  Buffer<float> panels_;
  std::vector<float> half_squares_;
};

// nearest [n]: of equally near points the first. distance [n], from `points` as they were, or null.
void nearest_points(const KernelTable& table, const PointPanels& panels, const float* points, const HistRows& rows,
                    int64_t n, const double* weights, int num_threads, int32_t* nearest, float* distance);

}  // namespace alseg
