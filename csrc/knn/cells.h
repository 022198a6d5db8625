// The cells of a search's blocks: which of them, and which of their rows, a query still has to see.
#pragma once
#include <cstdint>
#include <vector>

#include "knn/nearest.h"
#include "knn/queries.h"
#include "knn/scan.h"

namespace alseg {

struct Cell {
  int64_t block;
  int64_t first, n;  // rows of the block
  int64_t slice;     // rows of a slice
  float nearest, farthest;  // distances of its first and its last row to the centroid
};

class CellPlan {
 public:
  explicit CellPlan(const KnnRules& rules, int num_threads);

  int64_t n_cells() const { return static_cast<int64_t>(cells_.size()); }
  // Queries in order of their nearest cell, so that a block of them needs the same cells.
  std::vector<int64_t> order_queries(int num_threads) const;
  // Searches the cells for a block of queries: first the nearest ones, then what the limits leave.
  void visit(QueryBlock& queries, int num_threads) const;

 private:
  struct Source {  // the cells of one block
    int64_t block, first_cell, n_cells;
    double shrink;  // distances of the search are at least this times those of the cells
    bool same_weights, planes;  // whether planes between centroids bound the rows of a cell
    PointPanels points;
  };
  struct Distances {  // [queries, n_cells()]
    Buffer<float> centroid;  // to the centroid of each cell
    Buffer<float> plane;     // rows of the cell are at least so far, for there is a plane between
  };
  void add_block(int64_t block, int num_threads);
  void measure(const QueryBlock& queries, const Source& source, Distances& out, int num_threads) const;
  void measure_planes(const Source& source, int64_t n, const float* centroid, float* plane, float* memory) const;
  Want rows_within(int64_t cell, float distance, double radius) const;
  Want slices_within(int64_t cell, float low, float high) const;
  void build_slices(int num_threads);

  const KnnRules& rules_;
  std::vector<Source> sources_;
  std::vector<Cell> cells_;
  std::vector<float> slices_;  // [n_cells, kSlices] the distance that each slice of a cell's rows begins with
};

}  // namespace alseg
