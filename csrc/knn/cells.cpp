#include "knn/cells.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "common/scratch.h"
#include "common/threads.h"

namespace alseg {
namespace {

constexpr int64_t kStep = 48;       // queries of a task
constexpr int64_t kFirstRows = 256, kMoreRows = 4096, kAllRows = INT64_MAX;  // of the rounds of a query
constexpr int64_t kMostWants = 768;  // queries of a stretch
constexpr int64_t kSlices = 32;     // of a cell
constexpr int64_t kSliceRows = 32;  // a slice has a multiple of these
constexpr double kStored = 1.0e-5;  // error of the distances that cells come with
constexpr double kFarAway = 1e30;   // a limit that is none yet

uint64_t sort_key(float distance, int64_t cell) {  // orders by distance >= 0, then by cell
  uint32_t bits;
  std::memcpy(&bits, &distance, 4);
  return uint64_t{bits} << 32 | static_cast<uint32_t>(cell);
}
float distance_of(uint64_t key) {
  const uint32_t bits = static_cast<uint32_t>(key >> 32);
  float distance;
  std::memcpy(&distance, &bits, 4);
  return distance;
}
int64_t cell_of(uint64_t key) { return static_cast<int64_t>(key & 0xffffffffu); }

// The cells in the order of a query; only as many are sorted as it needs in order.
struct Order {
  std::vector<uint64_t> cells;
  size_t next = 0, sorted = 0, step = 4;

  void take(const float* distance, int64_t n) {
    cells.resize(static_cast<size_t>(n));
    for (int64_t c = 0; c < n; ++c) cells[static_cast<size_t>(c)] = sort_key(distance[c], c);
  }
  void sort_next() {
    if (next < sorted) return;
    const auto from = cells.begin() + static_cast<std::ptrdiff_t>(sorted);
    sorted = std::min(cells.size(), sorted + step);
    step *= 2;
    const auto to = cells.begin() + static_cast<std::ptrdiff_t>(sorted);
    if (to != cells.end()) std::nth_element(from, to, cells.end());
    std::sort(from, to);
  }
};

struct Visit {
  int32_t cell;
  Want want;  // the query, and rows of the cell
};

// By the slices they begin and end with, so that queries of a group need much the same rows. A radix sort; stable.
void sort_wants(Want* wants, int64_t n, int64_t slice, std::vector<Want>& spare) {
  spare.resize(static_cast<size_t>(n));
  const auto pass = [&](const Want* from, Want* to, int32_t Want::*row) {
    int64_t at[kSlices + 2] = {};
    const auto bucket = [&](const Want& w) { return std::min<int64_t>(kSlices, (w.*row + slice - 1) / slice); };
    for (int64_t i = 0; i < n; ++i) ++at[bucket(from[i]) + 1];
    for (int64_t k = 0; k <= kSlices; ++k) at[k + 1] += at[k];
    for (int64_t i = 0; i < n; ++i) to[at[bucket(from[i])]++] = from[i];
  };
  pass(wants, spare.data(), &Want::last);
  pass(spare.data(), wants, &Want::first);
}

// Visits of all queries -> stretches, cell after cell. `wants` is what they point into.
std::vector<Stretch> stretches_of(const std::vector<Cell>& cells, const std::vector<std::vector<Visit>>& visits,
                                  std::vector<Want>& wants) {
  std::vector<int64_t> start(cells.size() + 1, 0);
  for (const auto& list : visits)
    for (const Visit& v : list) ++start[static_cast<size_t>(v.cell) + 1];
  std::partial_sum(start.begin(), start.end(), start.begin());
  wants.resize(static_cast<size_t>(start.back()));
  std::vector<int64_t> at(start.begin(), start.end() - 1);
  for (const auto& list : visits)
    for (const Visit& v : list) wants[static_cast<size_t>(at[static_cast<size_t>(v.cell)]++)] = v.want;
  std::vector<Want> spare;
  std::vector<Stretch> list;
  for (size_t c = 0; c < cells.size(); ++c) {
    if (start[c] == start[c + 1]) continue;
    sort_wants(wants.data() + start[c], start[c + 1] - start[c], cells[c].slice, spare);
    for (int64_t w = start[c]; w < start[c + 1]; w += kMostWants)
      list.push_back(Stretch{cells[c].block, cells[c].first, cells[c].n, wants.data() + w,
                             std::min(kMostWants, start[c + 1] - w)});
  }
  return list;
}

}  // namespace

CellPlan::CellPlan(const KnnRules& rules, int num_threads) : rules_(rules) {
  for (size_t b = 0; b < rules.search.blocks.size(); ++b)
    if (rules.search.blocks[b].n_cells > 0) add_block(static_cast<int64_t>(b), num_threads);
  constexpr int64_t kManyQueries = 16;
  if (rules.search.n_queries >= kManyQueries) build_slices(num_threads);
}

void CellPlan::add_block(int64_t b, int num_threads) {
  const KnnBlock& block = rules_.search.blocks[static_cast<size_t>(b)];
  double least = std::numeric_limits<double>::infinity();
  bool same = true;
  for (int64_t c = 0; c < block.rows.channels; ++c) {
    least = std::min(least, rules_.search.weights[c] / block.cell_weights[c]);
    same &= rules_.search.weights[c] == block.cell_weights[c];
  }
  const double shrink = same ? 1.0 : std::sqrt(least) * (1.0 - 1e-12);
  sources_.push_back(Source{b, n_cells(), block.n_cells, shrink, same,
                            block.nearest_cells && block.n_cells > 1,
                            PointPanels(rules_.table, block.centroids, block.n_cells, rules_.dim, num_threads)});
  for (int64_t c = 0; c < block.n_cells; ++c) {
    const int64_t n = block.offsets[c + 1] - block.offsets[c], unit = kSlices * kSliceRows;
    const float* const d = block.distance + block.offsets[c];
    cells_.push_back(Cell{b, block.offsets[c], n, std::max<int64_t>(1, (n + unit - 1) / unit) * kSliceRows,
                          n > 0 ? d[0] : 0.0f, n > 0 ? d[n - 1] : 0.0f});
  }
}

// For many queries, a table of a few distances of each cell is quicker than a search in all of them.
void CellPlan::build_slices(int num_threads) {
  slices_.resize(cells_.size() * kSlices);
  constexpr int64_t kCells = 64;
  parallel_for((n_cells() + kCells - 1) / kCells, num_threads, [&](int64_t chunk) {
    for (int64_t c = chunk * kCells; c < std::min(n_cells(), (chunk + 1) * kCells); ++c) {
      const Cell& cell = cells_[static_cast<size_t>(c)];
      const float* const from = rules_.search.blocks[static_cast<size_t>(cell.block)].distance + cell.first;
      for (int64_t i = 0; i < kSlices; ++i)
        slices_[static_cast<size_t>(c * kSlices + i)] =
            i * cell.slice < cell.n ? from[i * cell.slice] : std::numeric_limits<float>::infinity();
    }
  });
}

// Whole slices: one that begins below `low` is left out if the next one does too.
Want CellPlan::slices_within(int64_t c, float low, float high) const {
  const Cell& cell = cells_[static_cast<size_t>(c)];
  const float* const start = slices_.data() + c * kSlices;
  int32_t before = 0, until = 0;
  for (int64_t i = 0; i < kSlices; ++i) {
    before += start[i] < low;
    until += start[i] <= high;
  }
  Want want{0, 0, 0};
  want.first = static_cast<int32_t>(std::max<int64_t>(0, before - 1) * cell.slice);
  want.last = static_cast<int32_t>(std::min(cell.n, until * cell.slice));
  return want;
}

// The columns of this source.
void CellPlan::measure(const QueryBlock& queries, const Source& source, Distances& out, int num_threads) const {
  const KernelTable& table = rules_.table;
  const int64_t panel = table.knn_panel, group = table.knn_group;
  const KnnBlock& block = rules_.search.blocks[static_cast<size_t>(source.block)];
  parallel_for((queries.n + kStep - 1) / kStep, num_threads, [&](int64_t chunk) {
    thread_local KeptMemory packed, rows;
    float* const memory = packed.room<float>(rules_.dim * group);
    const int64_t begin = chunk * kStep, end = std::min(begin + kStep, queries.n);
    const float* embedded = queries.embedded.data() + begin * rules_.pitch;
    if (!source.same_weights) {
      float* const own = rows.room<float>(kStep * rules_.pitch);
      for (int64_t i = begin; i < end; ++i)
        table.knn_embed_row(rules_.search.queries, queries.id[static_cast<size_t>(i)], block.cell_weights,
                            own + (i - begin) * rules_.pitch);
      embedded = own;
    }
    int32_t which[64];
    for (int64_t i = begin; i < end; i += group) {
      const int64_t n = std::min(group, end - i), at = i * n_cells() + source.first_cell;
      for (int64_t k = 0; k < n; ++k) which[k] = static_cast<int32_t>(i - begin + k);
      table.knn_pack_group(embedded, rules_.pitch, which, n, rules_.dim, memory);
      for (int64_t c = 0; c < source.n_cells; c += panel)
        table.knn_point_distances(source.points.panel(c), memory, rules_.dim, std::min(panel, source.n_cells - c), n,
                                  n_cells(), out.centroid.data() + at + c);
      if (source.planes) measure_planes(source, n, out.centroid.data() + at, out.plane.data() + at, memory);
      else for (int64_t k = 0; k < n; ++k) std::fill_n(out.plane.data() + at + k * n_cells(), source.n_cells, 0.0f);
    }
  });
}

// With a the centroid nearest to the query q, and c that of a cell whose rows x are not nearer to a than to c:
// f(y) = |y - c|^2 - |y - a|^2 is linear in y with a gradient of length 2 |c - a|, and f(x) <= 0 < f(q). So x is at
// least f(q) / (2 |c - a|) away. Rows were given to cells by float products of numbers whose sums are at most 1, off
// by (dim + 10) u each, which makes it f(x) <= 4 (dim + 10) u; a distance is off by the share of it that
// `rows_within` allows for, and by 1e-6 for the rounding of the query.
void CellPlan::measure_planes(const Source& source, int64_t n, const float* centroid, float* plane,
                              float* memory) const {
  const KernelTable& table = rules_.table;
  const int64_t panel = table.knn_panel;
  const float* const points = rules_.search.blocks[static_cast<size_t>(source.block)].centroids;
  int32_t nearest[64];
  for (int64_t k = 0; k < n; ++k) {
    const float* const row = centroid + k * n_cells();
    nearest[k] = static_cast<int32_t>(std::min_element(row, row + source.n_cells) - row);
  }
  table.knn_pack_group(points, rules_.dim, nearest, n, rules_.dim, memory);
  for (int64_t c = 0; c < source.n_cells; c += panel)
    table.knn_point_distances(source.points.panel(c), memory, rules_.dim, std::min(panel, source.n_cells - c), n,
                              n_cells(), plane + c);  // for now the distances between centroids
  const float share = static_cast<float>((rules_.dim + 16) * 0x1p-24), given = 4.0f * share + 1e-5f;
  for (int64_t k = 0; k < n; ++k) {
    const float* const row = centroid + k * n_cells();
    float* const bound = plane + k * n_cells();
    const float own = row[nearest[k]] * (1.0f + share) + 1e-6f, least = own * own + given;
    for (int64_t c = 0; c < source.n_cells; ++c) {
      const float far = row[c] * (1.0f - share) - 1e-6f;
      const float apart = bound[c] * (1.0f + share) + 1e-6f;
      bound[c] = std::max(0.0f, (far * std::abs(far) - least) / (2.0f * apart) - 1e-5f);
    }
  }
}

// By the triangle inequality a row within `radius` of the query has a distance to the centroid that differs from the
// query's by no more. To the radius comes what rounding adds: of the stored distance, of the embedded query (a relative
// error of 3 u of a vector of length 1), and of the sum of dim squares (dim u of the distance at most).
Want CellPlan::rows_within(int64_t c, float distance, double radius) const {
  const Cell& cell = cells_[static_cast<size_t>(c)];
  const float* const begin = rules_.search.blocks[static_cast<size_t>(cell.block)].distance + cell.first;
  const float* const end = begin + cell.n;
  Want want{0, 0, static_cast<int32_t>(cell.n)};
  if (!(radius < kFarAway)) return want;  // every row
  const double own = static_cast<double>(distance);
  const double away = radius + 2.0 * kStored + own * static_cast<double>(rules_.dim + 16) * 0x1p-24;
  const float low = below(own - away), high = above(own + away);
  if (cell.n == 0 || cell.nearest > high || cell.farthest < low) return Want{0, 0, 0};
  if (!slices_.empty()) return slices_within(c, low, high);
  want.first = static_cast<int32_t>(std::lower_bound(begin, end, low) - begin);
  want.last = static_cast<int32_t>(std::upper_bound(begin, end, high) - begin);
  return want;
}

std::vector<int64_t> CellPlan::order_queries(int num_threads) const {
  const KnnSearch& search = rules_.search;
  const Source& source = sources_.front();
  std::vector<int32_t> nearest(static_cast<size_t>(search.n_queries));
  const KnnBlock& block = search.blocks[static_cast<size_t>(source.block)];
  nearest_points(rules_.table, source.points, block.centroids, search.queries, search.n_queries, block.cell_weights,
                 num_threads, nearest.data(), nullptr);
  std::vector<int64_t> order(nearest.size());
  std::iota(order.begin(), order.end(), int64_t{0});
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return nearest[static_cast<size_t>(a)] < nearest[static_cast<size_t>(b)];
  });
  return order;
}

void CellPlan::visit(QueryBlock& queries, int num_threads) const {
  const int64_t n_cells = this->n_cells();
  Distances distance;
  distance.centroid.resize(queries.n * n_cells);
  distance.plane.resize(queries.n * n_cells);
  for (const Source& source : sources_) measure(queries, source, distance, num_threads);
  // How far from the query a row within its limit can be, in the embedding of the cells.
  const auto radius = [&](int64_t q, size_t source) {
    const double h2 = rules_.h2_limit(queries.limit[static_cast<size_t>(q)]);
    return std::sqrt(std::max(0.0, 2.0 * h2)) / sources_[source].shrink;
  };
  std::vector<size_t> source_of(static_cast<size_t>(n_cells));
  for (size_t s = 0; s < sources_.size(); ++s)
    std::fill_n(source_of.begin() + sources_[s].first_cell, sources_[s].n_cells, s);

  std::vector<Order> left(static_cast<size_t>(queries.n));
  std::vector<std::vector<Visit>> visits(static_cast<size_t>(queries.n));
  std::vector<Want> wants;
  // A few rows of the nearest cells give a first limit, more of them almost the last one; then all that is left.
  for (const int64_t rows : {std::max(kFirstRows, 2 * rules_.keep), std::max(kMoreRows, 8 * rules_.keep), kAllRows}) {
    parallel_for((queries.n + kStep - 1) / kStep, num_threads, [&](int64_t chunk) {
      std::vector<double> radii(sources_.size());
      for (int64_t i = chunk * kStep; i < std::min((chunk + 1) * kStep, queries.n); ++i) {
        Order& order = left[static_cast<size_t>(i)];
        for (size_t s = 0; s < sources_.size(); ++s) radii[s] = radius(i, s);
        if (order.cells.empty()) order.take(distance.centroid.data() + i * n_cells, n_cells);
        std::vector<Visit>& list = visits[static_cast<size_t>(i)];
        list.clear();
        for (int64_t seen = 0; seen < rows && order.next < order.cells.size(); ++order.next) {
          if (rows != kAllRows) order.sort_next();
          const uint64_t key = order.cells[order.next];
          const int64_t c = cell_of(key);
          const double within = radii[source_of[static_cast<size_t>(c)]];
          if (static_cast<double>(distance.plane.data()[i * n_cells + c]) > within) continue;
          Want want = rows_within(c, distance_of(key), within);
          if (want.first >= want.last) continue;
          want.query = static_cast<int32_t>(i);
          list.push_back(Visit{static_cast<int32_t>(c), want});
          seen += want.last - want.first;
        }
      }
    });
    const std::vector<Stretch> stretches = stretches_of(cells_, visits, wants);
    if (!stretches.empty()) scan_all(rules_, queries, stretches, num_threads);
  }
}

}  // namespace alseg
