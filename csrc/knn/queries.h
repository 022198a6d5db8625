// The state of a search: what is the same for all queries, and a block of queries with what each has found.
#pragma once
#include <cstdint>
#include <vector>

#include "common/buffers.h"
#include "isa/levels.h"
#include "knn/candidates.h"
#include "knn/search.h"

namespace alseg {

// Limits are divergences, or, where candidates are taken by their dot product alone, its negative.
struct KnnRules {
  const KnnSearch& search;
  const KernelTable& table;
  int64_t dim, pitch, keep;
  size_t most;         // candidates of a query before they are thinned out
  bool by_dot;
  float error;         // of a divergence in float
  double slack;        // of a dot product in float

  explicit KnnRules(const KnnSearch& s);
  float least_dot(float limit) const;       // rows with a smaller dot product are beyond the limit
  double h2_limit(float limit) const;       // the true h2 of rows within it is at most this
};

struct QueryBlock {
  int64_t n = 0;
  std::vector<int64_t> id;                  // which queries of the search
  Buffer<float> embedded, mass;             // [n, pitch]
  Buffer<double> shares;                    // [n, dim]
  std::vector<float> limit;
  std::vector<std::vector<Candidate>> found;
  std::vector<int64_t> visited, reranked;

  QueryBlock(const KnnRules& rules, std::vector<int64_t> ids, int num_threads);
};

// The true divergences of the candidates, by (distance, key), at most `most` of them.
struct Exact {
  double distance;
  int64_t key;
  int64_t row;
};
std::vector<Exact> exact_order(const KnnRules& rules, const double* shares, const std::vector<Candidate>& list,
                               size_t most);

// Keeps a list short: drops what is beyond the k-th, by true divergences if bounds alone do not separate enough.
// `reranked` grows by the divergences computed.
void thin_out(const KnnRules& rules, const double* shares, std::vector<Candidate>& list, float& limit,
              int64_t& reranked);

inline const KnnBlock& block_of(const KnnSearch& search, int64_t row) {
  return search.blocks[static_cast<size_t>(row >> kRowBits)];
}
inline int64_t row_in_block(int64_t row) { return row & ((int64_t{1} << kRowBits) - 1); }

}  // namespace alseg
