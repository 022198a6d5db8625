// The rows nearest to each query: what a search takes and gives. Definitions: kernels/js_knn/common.py.
#pragma once
#include <cstdint>
#include <limits>
#include <vector>

#include "kernels/knn/jobs.h"

namespace alseg {

constexpr int64_t kNoKey = std::numeric_limits<int64_t>::min();

struct KnnBlock {
  HistRows rows;
  int64_t n;
  const int64_t* key;       // [n]
  const uint8_t* alive;     // [n], or null: all
  int64_t n_cells;          // 0: none
  const int64_t* offsets;   // [n_cells + 1]
  const float* centroids;   // [n_cells, dim]
  const float* distance;    // [n] to the centroid, ascending inside a cell
  const double* cell_weights;
  bool nearest_cells;       // no row has a nearer centroid than its cell's, as nearest_points finds them
};

struct KnnSearch {
  HistRows queries;
  int64_t n_queries, k;
  const double* weights;    // [channels]
  const int64_t* exclude;   // [n_queries], or null
  const double* within;     // [n_queries], or null
  int64_t candidates;       // 0: exact
  std::vector<KnnBlock> blocks;
};

struct KnnFound {
  int64_t* keys;            // [n_queries, k], kNoKey behind the last
  double* distances;        // [n_queries, k], infinite behind the last
  uint8_t* certified;       // [n_queries]
  int64_t* visited;         // [n_queries]
  int64_t* reranked;        // [n_queries]
};

void knn_search(const KnnSearch& search, int num_threads, const KnnFound& found);

}  // namespace alseg
