#include "knn/queries.h"

#include <algorithm>
#include <cmath>

#include "common/scratch.h"
#include "common/threads.h"

namespace alseg {
namespace {

constexpr double kLn2 = 0.69314718055994530942;
constexpr double kUnit = 0x1p-24;  // half a unit in the last place of a float near 1

}  // namespace

// The slack: embedded values have relative errors of at most 3 u each, and a chain of dim multiply-adds of positive
// numbers, whose sum is at most 1, adds at most dim u; two more for what squares of u and the scales' rounding leave.
KnnRules::KnnRules(const KnnSearch& s)
    : search(s), table(kernels()), dim(s.queries.dim), pitch(table.knn_padded(dim)),
      keep(s.candidates ? s.candidates + 1 : s.k), most(static_cast<size_t>(2 * keep + 64)), by_dot(s.candidates != 0),
      error(table.knn_divergence_error(dim, s.queries.channels)),
      slack(static_cast<double>(dim + 8) * kUnit) {}

float KnnRules::least_dot(float limit) const {
  return by_dot ? -limit : below(1.0 - static_cast<double>(limit) / kLn2 - slack);
}

double KnnRules::h2_limit(float limit) const {
  return by_dot ? 1.0 + static_cast<double>(limit) + slack : static_cast<double>(limit) / kLn2;
}

QueryBlock::QueryBlock(const KnnRules& rules, std::vector<int64_t> ids, int num_threads)
    : n(static_cast<int64_t>(ids.size())), id(std::move(ids)), embedded(n * rules.pitch), mass(n * rules.pitch),
      shares(n * rules.dim), limit(id.size(), std::numeric_limits<float>::infinity()), found(id.size()),
      visited(id.size()), reranked(id.size()) {
  const KnnSearch& search = rules.search;
  constexpr int64_t kStep = 64;
  parallel_for((n + kStep - 1) / kStep, num_threads, [&](int64_t chunk) {
    for (int64_t i = chunk * kStep; i < std::min((chunk + 1) * kStep, n); ++i) {
      const int64_t q = id[static_cast<size_t>(i)];
      rules.table.knn_embed_row(search.queries, q, search.weights, embedded.data() + i * rules.pitch);
      rules.table.knn_mass_row(search.queries, q, search.weights, mass.data() + i * rules.pitch);
      rules.table.js_shares(search.queries, q, shares.data() + i * rules.dim);
      if (search.within && !rules.by_dot) limit[static_cast<size_t>(i)] = above(search.within[q]);
    }
  });
}

std::vector<Exact> exact_order(const KnnRules& rules, const double* shares, const std::vector<Candidate>& list,
                               size_t most) {
  thread_local KeptMemory memory;
  double* const other = memory.room<double>(rules.dim);
  std::vector<Exact> order;
  order.reserve(list.size());
  for (const Candidate& c : list) {
    const KnnBlock& block = block_of(rules.search, c.row);
    const int64_t row = row_in_block(c.row);
    rules.table.js_shares(block.rows, row, other);
    const double d = rules.table.js_exact(shares, other, rules.dim, block.rows.channels, rules.search.weights);
    order.push_back(Exact{d, block.key[row], c.row});
  }
  const auto first = [](const Exact& a, const Exact& b) {
    return a.distance < b.distance || (a.distance == b.distance && a.key < b.key);
  };
  const size_t n = std::min(most, order.size());
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(n), order.end(), first);
  order.resize(n);
  return order;
}

void thin_out(const KnnRules& rules, const double* shares, std::vector<Candidate>& list, float& limit,
              int64_t& reranked) {
  tighten(list, rules.keep, limit);
  const size_t keep = static_cast<size_t>(rules.keep);
  if (rules.by_dot) {
    if (list.size() > keep) {  // ties with the last
      std::nth_element(list.begin(), list.begin() + (rules.keep - 1), list.end(), closer);
      list.resize(keep);
    }
    return;
  }
  if (list.size() <= keep + (rules.most - keep) / 2) return;
  reranked += static_cast<int64_t>(list.size());
  const std::vector<Exact> order = exact_order(rules, shares, list, keep);
  list.clear();
  for (const Exact& e : order) list.push_back(Candidate{below(e.distance), above(e.distance), e.row});
  tighten(list, rules.keep, limit);
}

}  // namespace alseg
