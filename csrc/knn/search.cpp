#include "knn/search.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "common/threads.h"
#include "knn/cells.h"
#include "knn/queries.h"
#include "knn/scan.h"

namespace alseg {
namespace {

constexpr double kLn2 = 0.69314718055994530942;

// Blocks without cells, from end to end in rounds of growing length: after each the limits are smaller.
class FlatScan {
 public:
  FlatScan(const KnnRules& rules, QueryBlock& queries, int num_threads)
      : rules_(rules), queries_(queries), num_threads_(num_threads) {
    for (int64_t q = 0; q < queries.n; ++q) wants_.push_back(Want{static_cast<int32_t>(q), 0, INT32_MAX});
    for (const KnnBlock& block : rules.search.blocks) total_ += block.n_cells == 0 ? block.n : 0;
  }

  void run() {
    int64_t done = 0;
    for (int64_t step = std::max<int64_t>(kFirst, 2 * rules_.keep); done < total_; step = done) {
      const int64_t end = total_ - done < step + step / 2 ? total_ : done + step;
      scan_all(rules_, queries_, stretches(done, end), num_threads_);
      done = end;
    }
  }

 private:
  static constexpr int64_t kFirst = 256;
  static constexpr int64_t kLeastRows = 512, kMostRows = 16384, kTasks = 32, kLeastQueries = 48;

  // Rows begin .. end - 1 of all such blocks, cut by rows and, where these are few, by queries.
  std::vector<Stretch> stretches(int64_t begin, int64_t end) const {
    const int64_t rows = std::clamp((end - begin) / kTasks / 64 * 64, kLeastRows, kMostRows);
    const int64_t pieces = (end - begin + rows - 1) / rows;
    const int64_t parts = std::clamp<int64_t>(kTasks / pieces, 1, std::max<int64_t>(1, queries_.n / kLeastQueries));
    std::vector<Stretch> list;
    int64_t passed = 0;
    for (size_t b = 0; b < rules_.search.blocks.size(); ++b) {
      const KnnBlock& block = rules_.search.blocks[b];
      if (block.n_cells != 0) continue;
      const int64_t to = std::min(end - passed, block.n);
      for (int64_t at = std::max<int64_t>(begin - passed, 0); at < to; at += rows) {
        for (int64_t part = 0; part < parts; ++part) {
          const int64_t q0 = queries_.n * part / parts, q1 = queries_.n * (part + 1) / parts;
          list.push_back(Stretch{static_cast<int64_t>(b), at, std::min(rows, to - at), wants_.data() + q0, q1 - q0});
        }
      }
      passed += block.n;
    }
    return list;
  }

  const KnnRules& rules_;
  QueryBlock& queries_;
  const int num_threads_;
  std::vector<Want> wants_;
  int64_t total_ = 0;
};

void finish_query(const KnnRules& rules, QueryBlock& queries, int64_t i, const KnnFound& out) {
  const KnnSearch& search = rules.search;
  const size_t at = static_cast<size_t>(i);
  const int64_t q = queries.id[at], k = search.k;
  std::vector<Candidate>& list = queries.found[at];
  double unseen = std::numeric_limits<double>::infinity();  // no row that was not looked at is closer
  if (rules.by_dot) {
    std::sort(list.begin(), list.end(), closer);
    if (static_cast<int64_t>(list.size()) > search.candidates) {
      list.resize(static_cast<size_t>(search.candidates));
      unseen = kLn2 * (1.0 + static_cast<double>(list.back().upper) - rules.slack);
    }
  }
  queries.reranked[at] += static_cast<int64_t>(list.size());
  const std::vector<Exact> order =
      exact_order(rules, queries.shares.data() + i * rules.dim, list, static_cast<size_t>(k));
  const double limit = search.within ? search.within[q] : std::numeric_limits<double>::infinity();
  int64_t n = 0;
  for (const Exact& e : order) {
    if (search.within && !(e.distance < limit)) break;
    out.keys[q * k + n] = e.key;
    out.distances[q * k + n] = e.distance;
    ++n;
  }
  // A row at just the k-th distance could still be a neighbour, by its key; one at the limit is none.
  out.certified[q] = unseen >= limit || (n == k && unseen > out.distances[q * k + k - 1]);
  for (; n < k; ++n) {
    out.keys[q * k + n] = kNoKey;
    out.distances[q * k + n] = std::numeric_limits<double>::infinity();
  }
  out.visited[q] = queries.visited[at];
  out.reranked[q] = queries.reranked[at];
}

// Queries that are handled together: as many as bounded memory allows, for rows are prepared once for all of them.
int64_t block_size(const KnnRules& rules, int64_t n_cells) {
  constexpr int64_t kBytes = int64_t{1} << 28, kOfCell = 44;  // two distances, its order, and a visit twice
  const int64_t each = 16 * rules.pitch + 64 * static_cast<int64_t>(rules.most) + kOfCell * n_cells;
  return std::clamp<int64_t>(kBytes / each, 12, 3072);
}

}  // namespace

void knn_search(const KnnSearch& search, int num_threads, const KnnFound& found) {
  const KnnRules rules(search);
  const CellPlan plan(rules, num_threads);
  const int64_t most = block_size(rules, plan.n_cells());
  const int64_t n_blocks = (search.n_queries + most - 1) / most;
  std::vector<int64_t> order;
  if (n_blocks > 1 && plan.n_cells() > 0) {
    order = plan.order_queries(num_threads);
  } else {
    order.resize(static_cast<size_t>(search.n_queries));
    std::iota(order.begin(), order.end(), int64_t{0});
  }
  for (int64_t b = 0; b < n_blocks; ++b) {
    const auto begin = order.begin() + search.n_queries * b / n_blocks;
    const auto end = order.begin() + search.n_queries * (b + 1) / n_blocks;
    QueryBlock queries(rules, std::vector<int64_t>(begin, end), num_threads);
    if (plan.n_cells() > 0) plan.visit(queries, num_threads);
    FlatScan(rules, queries, num_threads).run();
    parallel_for(queries.n, num_threads, [&](int64_t i) { finish_query(rules, queries, i, found); });
  }
}

}  // namespace alseg
