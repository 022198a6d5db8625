// A stretch of rows of one block, looked at for several queries.
#pragma once
#include <cstdint>
#include <vector>

#include "knn/queries.h"

namespace alseg {

// A query of the block and the rows of the stretch that it needs.
struct Want {
  int32_t query;
  int32_t first, last;
};

struct Stretch {
  int64_t block;
  int64_t first, n;       // rows of the block
  const Want* wants;      // what lies beyond the stretch is cut off
  int64_t n_wants;
};

// Of each want: how many of the candidates are its own (they lie in order), and what was counted.
struct StretchFound {
  std::vector<Candidate> candidates;
  std::vector<int32_t> count;
  std::vector<int64_t> visited, reranked;
};

// Finds every row of the stretch that may be within its query's limit. Depends on the stretch and on the limits
// alone, not on which thread does it when.
void scan_stretch(const KnnRules& rules, const QueryBlock& queries, const Stretch& stretch, StretchFound& out);

// All stretches; then their findings go to the queries, whose limits become smaller.
void scan_all(const KnnRules& rules, QueryBlock& queries, const std::vector<Stretch>& stretches, int num_threads);

}  // namespace alseg
