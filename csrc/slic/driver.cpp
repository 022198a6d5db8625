#include "slic/driver.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "common/scratch.h"
#include "common/threads.h"
#include "isa/levels.h"
#include "slic/merge.h"

namespace alseg {
namespace {

constexpr int64_t kMostCost = 10000;  // of a distance along one axis, so that a sum of costs stays in 16 bits
constexpr int64_t kPlaneRows = 64;    // of a chunk of planes: each reads a row of its neighbours too
// Adaptive: the cost of a colour distance as large as the cluster's largest, and of a distance of one grid step.
constexpr int64_t kAdaptiveScale = 64, kFirstFarthest = 160;

uint16_t gain_of(int64_t farthest) {
  return static_cast<uint16_t>(std::min<int64_t>(65535, (kAdaptiveScale << 16) / std::max<int64_t>(farthest, 1)));
}

// What a thread that calls keeps for its next image.
struct Memory {
  KeptMemory planes, prefix, spatial, centres, sums, runs, row_runs, component, active;
  static constexpr size_t kKeepAtMost = size_t{1} << 26;  // bytes of each

  void trim() {
    for (KeptMemory* m : {&planes, &prefix, &spatial, &centres, &sums, &runs, &row_runs, &component, &active})
      m->trim(kKeepAtMost);
  }
};

float* band_scratch(int64_t floats) {
  thread_local KeptMemory memory;
  return memory.room<float>(floats);
}

// The centres of the clusters of one band from their sums; whether one moved. The sums are cleared.
bool move_centres(const SlicJob& job, int64_t band, SlicCentre* centres) {
  bool moved = false;
  for (int64_t k = job.band_clusters[band]; k < job.band_clusters[band + 1]; ++k) {
    SlicSums sum{};
    for (int64_t side = 0; side < 3; ++side) {
      SlicSums& part = job.sums[side * job.n_clusters + k];
      sum.count += part.count;
      for (int c = 0; c < 3; ++c) sum.color[c] += part.color[c];
      sum.x += part.x;
      sum.y += part.y;
      sum.farthest = std::max(sum.farthest, part.farthest);
      part = SlicSums{};
    }
    if (sum.count == 0) continue;
    const int64_t n = sum.count;
    SlicCentre to{};
    to.x = static_cast<int32_t>((4 * sum.x + n / 2) / n);
    to.y = static_cast<int32_t>((4 * sum.y + n / 2) / n);
    for (int c = 0; c < 3; ++c) to.color[c] = static_cast<int16_t>(((sum.color[c] << job.color_shift) + n / 2) / n);
    to.gain = job.adaptive ? gain_of(sum.farthest ? sum.farthest : kFirstFarthest) : 0;
    moved |= std::memcmp(&to, &centres[k], sizeof to) != 0;
    centres[k] = to;
  }
  return moved;
}

// Writes labels by runs: whole vectors where the row has room for them, for the next run overwrites what was too much.
void write_labels(const SlicJob& job, const SlicMerge& merge, int64_t y0, int64_t y1, int32_t* labels) {
  typedef int32_t vector __attribute__((vector_size(32), aligned(4)));
  constexpr int64_t kWide = 8;
  const int32_t* const ids = merge.final_id.data();
  for (int64_t y = y0; y < y1; ++y) {
    int32_t* const out = labels + y * job.width;
    const int32_t end = job.row_runs[2 * y + 1];
    for (int32_t i = job.row_runs[2 * y]; i < end; ++i) {
      const int32_t component = merge.component[i], id = component < 0 ? -1 : ids[component];
      const int64_t stop = i + 1 < end ? job.runs[i + 1].x : job.width;
      int64_t x = job.runs[i].x;
      for (; x < stop && x + kWide <= job.width; x += kWide) *reinterpret_cast<vector*>(out + x) = vector{} + id;
      for (; x < stop; ++x) out[x] = id;
    }
  }
}

}  // namespace

int64_t run_slic(SlicRequest request, int num_threads) {
  SlicJob& job = request.job;
  const KernelTable& table = kernels();
  job.pitch = (job.width + kSlicBlock - 1) / kSlicBlock * kSlicBlock;
  const int64_t pixels = job.height * job.width, reach = std::max(job.height, job.pitch);
  thread_local Memory memory;
  job.planes = memory.planes.room<uint8_t>(job.height * 3 * job.pitch);
  job.prefix = memory.prefix.room<uint64_t>(slic_samples(job) * (job.width + 1));
  int16_t* const spatial = memory.spatial.room<int16_t>(4 * (2 * reach + 1));
  SlicCentre* const centres = memory.centres.room<SlicCentre>(job.n_clusters);
  job.sums = memory.sums.room<SlicSums>(3 * job.n_clusters);
  job.runs = memory.runs.room<SlicRun>(pixels);
  job.row_runs = memory.row_runs.room<int32_t>(2 * job.height);
  SlicMerge merge{&job, request.min_area, request.most_segments, memory.component.room<int32_t>(pixels), {}, 0};
  uint8_t* const active = job.mask ? memory.active.room<uint8_t>(job.n_clusters) : nullptr;
  for (int64_t quarter = 0; quarter < 4; ++quarter) {
    int16_t* const cost = spatial + quarter * (2 * reach + 1) + reach;
    for (int64_t d = -reach; d <= reach; ++d)
      cost[d] = static_cast<int16_t>(
          std::min(kMostCost, (std::abs(4 * d - quarter) * request.spatial_weight + (1 << 17)) >> 18));
    job.spatial[quarter] = cost;
  }
  job.centres = centres;
  job.active = active;
  std::memset(static_cast<void*>(centres), 0, sizeof(SlicCentre) * job.n_clusters);
  std::memset(static_cast<void*>(job.sums), 0, sizeof(SlicSums) * 3 * job.n_clusters);
  const int64_t floats = table.slic_scratch(job);
  const auto bands = [&](const auto& body) { parallel_for(job.n_bands, num_threads, body); };
  parallel_for((job.height + kPlaneRows - 1) / kPlaneRows, num_threads, [&](int64_t i) {
    const int64_t y = i * kPlaneRows;
    table.slic_planes(job, y, std::min(y + kPlaneRows, job.height), band_scratch(floats));
  });
  bands([&](int64_t band) {
    table.slic_seed(job, band);
    if (active)
      for (int64_t k = job.band_clusters[band]; k < job.band_clusters[band + 1]; ++k)
        active[k] = job.sums[job.n_clusters + k].count > 0;
    move_centres(job, band, centres);
  });
  for (int64_t i = 0; i < request.n_iter; ++i) {
    bands([&](int64_t band) { table.slic_gather(job, band, band_scratch(floats)); });
    bool moved = false;
    for (int64_t band = 0; band < job.n_bands; ++band) moved |= move_centres(job, band, centres);
    if (!moved) break;
  }
  bands([&](int64_t band) { table.slic_assign(job, band, band_scratch(floats)); });
  merge_segments(&merge, num_threads);
  bands([&](int64_t band) {
    write_labels(job, merge, job.band_rows[band], job.band_rows[band + 1], request.labels);
  });
  memory.trim();
  return merge.n_segments;
}

}  // namespace alseg
