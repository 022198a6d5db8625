#include "kernels/regions/pool.h"

#include <algorithm>
#include <vector>

#include "kernels/regions/runs.h"

namespace alseg {
namespace {

// Pixels [first, end) of one row that belong to one region.
struct PooledRun {
  int32_t first, end;
  int32_t next;  // another run of the same region in the same band, or -1
  double below;  // weight of the lower of the two rows of small pixels
};

// A band: the rows that lie between the same two rows of small pixels.
class Band {
 public:
  explicit Band(const PoolJob& job)
      : job_(job), latest_(static_cast<size_t>(job.map.n_segments), -1), cell_begin_(static_cast<size_t>(job.in_w + 1)),
        right_(static_cast<size_t>(job.map.width + 1)), upper_(static_cast<size_t>(job.in_w), 0.0),
        lower_(static_cast<size_t>(job.in_w), 0.0), part_(static_cast<size_t>(job.n_labels)) {
    const int64_t width = job.map.width;
    right_[0] = 0.0;
    for (int64_t x = 0; x < width; ++x)
      right_[static_cast<size_t>(x + 1)] = right_[static_cast<size_t>(x)] + static_cast<double>(job.x_frac[x]);
    int64_t x = 0;
    for (int64_t k = 0; k <= job.in_w; ++k) {
      while (x < width && job.x_index[x] < k) ++x;
      cell_begin_[static_cast<size_t>(k)] = static_cast<int32_t>(x);
    }
    direct_ = width == job.in_w && right_.back() == 0.0;
    for (x = 0; direct_ && x < width; ++x) direct_ = job.x_index[x] == x;
  }

  // Whether the row's pixels are small pixels themselves, as where the model answers at full resolution.
  bool is_direct(int64_t y) const { return direct_ && job_.y_frac[y] == 0.0f; }

  bool add_direct(int64_t y, double* sums) {
    const int64_t n = job_.n_labels;
    const float* const row = job_.values + job_.y_index[y] * job_.in_w * n;
    return for_each_run(job_.map, y, [&](int32_t id, int64_t first, int64_t end) {
      float* const __restrict part = part_.data();
      std::fill(part_.begin(), part_.end(), 0.0f);
      for (int64_t x = first; x < end; ++x) {
        const float* const __restrict p = row + x * n;
        for (int64_t l = 0; l < n; ++l) part[l] += p[l];
      }
      for (int64_t l = 0; l < n; ++l) sums[id * n + l] += static_cast<double>(part[l]);
    });
  }

  bool add_row(int64_t y) {
    const double below = static_cast<double>(job_.y_frac[y]);
    return for_each_run(job_.map, y, [&](int32_t id, int64_t first, int64_t end) {
      int32_t& latest = latest_[static_cast<size_t>(id)];
      if (latest < 0) present_.push_back(id);
      runs_.push_back({static_cast<int32_t>(first), static_cast<int32_t>(end), latest, below});
      latest = static_cast<int32_t>(runs_.size()) - 1;
    });
  }

  // Adds what has been gathered to the sums, and forgets it. `row`: the upper row of small pixels.
  void flush(int64_t row, double* sums) {
    for (const int32_t id : present_) {
      int32_t& latest = latest_[static_cast<size_t>(id)];
      for (int32_t r = latest; r >= 0; r = runs_[static_cast<size_t>(r)].next) spread(runs_[static_cast<size_t>(r)]);
      latest = -1;
      gather(row, sums + id * job_.n_labels);
    }
    present_.clear();
    runs_.clear();
  }

 private:
  void add(int64_t column, double weight, double below) {
    double& upper = upper_[static_cast<size_t>(column)];
    double& lower = lower_[static_cast<size_t>(column)];
    // One that is still 0 may be listed twice; the second time there is nothing left to add.
    if (upper == 0.0 && lower == 0.0) touched_.push_back(column);
    upper += weight * (1.0 - below);
    lower += weight * below;
  }

  // The weights of the small pixels in one run: sums over the run's pixels, from prefix sums.
  void spread(const PooledRun& run) {
    const int64_t last = job_.x_index[run.end - 1];
    double carried = 0.0;  // what the small pixel before gives to this one
    for (int64_t k = job_.x_index[run.first]; k <= last; ++k) {
      const int32_t from = std::max(run.first, cell_begin_[static_cast<size_t>(k)]);
      const int32_t to = std::min(run.end, cell_begin_[static_cast<size_t>(k + 1)]);
      const double right = right_[static_cast<size_t>(to)] - right_[static_cast<size_t>(from)];
      add(k, static_cast<double>(to - from) - right + carried, run.below);
      carried = right;
    }
    if (last + 1 < job_.in_w) add(last + 1, carried, run.below);
  }

  // A region has few small pixels in one band: their sum loses nothing in 32 bits that the sum of bands would keep.
  void gather(int64_t row, double* sums) {
    const int64_t n = job_.n_labels, pitch = job_.in_w * n;
    const float* const upper_row = job_.values + row * pitch;
    const float* const lower_row = row + 1 < job_.in_h ? upper_row + pitch : upper_row;
    float* const __restrict part = part_.data();
    std::fill(part_.begin(), part_.end(), 0.0f);
    for (const int64_t column : touched_) {
      const float upper = static_cast<float>(upper_[static_cast<size_t>(column)]);
      const float lower = static_cast<float>(lower_[static_cast<size_t>(column)]);
      const float* const __restrict a = upper_row + column * n;
      const float* const __restrict b = lower_row + column * n;
      for (int64_t l = 0; l < n; ++l) part[l] += upper * a[l] + lower * b[l];
      upper_[static_cast<size_t>(column)] = lower_[static_cast<size_t>(column)] = 0.0;
    }
    touched_.clear();
    for (int64_t l = 0; l < n; ++l) sums[l] += static_cast<double>(part[l]);
  }

  const PoolJob& job_;
  bool direct_ = false;
  std::vector<PooledRun> runs_;
  std::vector<int32_t> latest_;      // [S] latest run of each region, or -1
  std::vector<int32_t> present_;     // regions with a run
  std::vector<int32_t> cell_begin_;  // [w + 1] first pixel whose neighbour before is the small pixel or a later one
  std::vector<double> right_;        // [W + 1] prefix sums of the weights of the neighbours after
  std::vector<double> upper_, lower_;  // [w] weights of the small pixels
  std::vector<float> part_;            // [L] sums of one region over the band
  std::vector<int64_t> touched_;       // columns with a weight
};

}  // namespace

bool pool_rows(const PoolJob& job, int64_t y0, int64_t y1, double* sums) {
  Band band(job);
  bool ok = true;
  for (int64_t y = y0; y < y1; ++y) {
    ok &= band.is_direct(y) ? band.add_direct(y, sums) : band.add_row(y);
    if (y + 1 == y1 || job.y_index[y + 1] != job.y_index[y]) band.flush(job.y_index[y], sums);
  }
  return ok;
}

}  // namespace alseg
