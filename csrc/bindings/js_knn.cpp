// NumPy arrays <-> the search for nearest histograms and what is computed with it.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <pybind11/typing.h>

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <vector>

#include "bindings/hist_arrays.h"
#include "common/scratch.h"
#include "common/threads.h"
#include "isa/levels.h"
#include "knn/search.h"

namespace py = pybind11;

namespace {

using BlockParts = py::typing::Tuple<py::object, py::ellipsis>;
using bindings::hist_rows;
using bindings::positive;
using bindings::readable;
using bindings::writable;

void same_layout(const alseg::HistRows& a, const alseg::HistRows& b) {
  if (a.dim != b.dim || a.channels != b.channels) throw py::value_error("queries and rows differ in their width");
}

// Fills distances [Q, m]; see kernels/js_rerank/native_cpu.py.
void js_rerank(const py::array& queries, const py::array& query_scale, const py::array& hist, const py::array& scale,
               const py::object& weights, const py::array& index, int num_threads, const py::object& out) {
  const alseg::HistRows own = hist_rows(queries, query_scale, true), rows = hist_rows(hist, scale, true);
  same_layout(own, rows);
  const py::ssize_t n = queries.shape(0), n_rows = hist.shape(0);
  const double* const w = positive(weights, "weights", own.channels);
  if (index.ndim() != 2) throw py::value_error("index must have 2 dimensions");
  const py::ssize_t m = index.shape(1);
  const int64_t* const which = readable<int64_t>(index, "index", {n, m}, 'i');
  double* const distances = writable<double>(out, "out", {n, m}, 'f');
  if (!distances) throw py::value_error("out must be given");
  for (py::ssize_t i = 0; i < n * m; ++i)
    if (which[i] >= n_rows) throw py::value_error("index must be below the number of rows");
  py::gil_scoped_release nogil;
  const alseg::KernelTable& table = alseg::kernels();
  constexpr py::ssize_t kStep = 1024;
  const py::ssize_t parts = (m + kStep - 1) / kStep;
  alseg::parallel_for(n * parts, num_threads, [&](int64_t task) {
    thread_local alseg::KeptMemory memory;
    double* const p = memory.room<double>(2 * own.dim);
    double* const q = p + own.dim;
    const int64_t i = task / parts, begin = task % parts * kStep;
    table.js_shares(own, i, p);
    for (int64_t k = i * m + begin; k < i * m + std::min<int64_t>(begin + kStep, m); ++k) {
      distances[k] = std::numeric_limits<double>::infinity();
      if (which[k] < 0) continue;
      table.js_shares(rows, which[k], q);
      distances[k] = table.js_exact(p, q, own.dim, own.channels, w);
    }
  });
}

void check_cells(const alseg::KnnBlock& block) {
  const int64_t* const o = block.offsets;
  bool ok = o[0] == 0 && o[block.n_cells] == block.n;
  for (int64_t c = 0; ok && c < block.n_cells; ++c) ok = o[c] <= o[c + 1] && o[c + 1] - o[c] <= INT32_MAX;
  if (!ok) throw py::value_error("offsets must ascend from 0 to the number of rows");
}

// (hist, scale, key, alive, offsets, centroids, distance, weights, nearest): arrays, of which alive and those of the
// cells may be None, and a bool.
alseg::KnnBlock knn_block(const py::tuple& t) {
  if (t.size() != 9) throw py::value_error("a block has 9 parts");
  const auto hist = py::cast<py::array>(t[0]), scale = py::cast<py::array>(t[1]);
  alseg::KnnBlock block{};
  block.rows = hist_rows(hist, scale, false);
  const py::ssize_t n = hist.shape(0);
  block.n = n;
  block.key = readable<int64_t>(t[2], "key", {n}, 'i');
  if (!block.key) throw py::value_error("key must be given");
  block.alive = readable<uint8_t>(t[3], "alive", {n}, 'b');
  if (t[4].is_none()) return block;
  const py::ssize_t n_cells = py::cast<py::array>(t[4]).shape(0) - 1;
  if (n_cells < 1 || n_cells > INT32_MAX) throw py::value_error("offsets must have an entry for each cell and one more");
  block.n_cells = n_cells;
  block.offsets = readable<int64_t>(t[4], "offsets", {n_cells + 1}, 'i');
  block.centroids = readable<float>(t[5], "centroids", {n_cells, block.rows.dim}, 'f');
  block.distance = readable<float>(t[6], "distance", {n}, 'f');
  block.cell_weights = positive(t[7], "cell weights", block.rows.channels);
  if (!block.centroids || !block.distance) throw py::value_error("cells need centroids and distances");
  block.nearest_cells = py::cast<bool>(t[8]);
  check_cells(block);
  return block;
}

void js_knn(const py::array& queries, const py::array& query_scale, const std::vector<BlockParts>& blocks, int64_t k,
            const py::object& weights, const py::object& exclude, const py::object& within, int64_t candidates,
            int num_threads, const py::object& keys, const py::object& distances, const py::object& certified,
            const py::object& visited, const py::object& reranked) {
  alseg::KnnSearch search{};
  search.queries = hist_rows(queries, query_scale, false);
  const py::ssize_t n = queries.shape(0);
  search.n_queries = n;
  search.k = k;
  search.weights = positive(weights, "weights", search.queries.channels);
  search.exclude = readable<int64_t>(exclude, "exclude", {n}, 'i');
  search.within = readable<double>(within, "within", {n}, 'f');
  search.candidates = candidates;
  constexpr int64_t kMost = int64_t{1} << 40;
  if (k < 1 || k > kMost || candidates < 0 || candidates > kMost || (candidates > 0 && candidates < k) ||
      blocks.size() > (1u << 20) || n > INT32_MAX)
    throw py::value_error("k, candidates or the number of blocks is out of range");
  for (const BlockParts& t : blocks) {
    search.blocks.push_back(knn_block(t));
    same_layout(search.queries, search.blocks.back().rows);
  }
  const alseg::KnnFound found{writable<int64_t>(keys, "keys", {n, k}, 'i'),
                              writable<double>(distances, "distances", {n, k}, 'f'),
                              writable<uint8_t>(certified, "certified", {n}, 'b'),
                              writable<int64_t>(visited, "visited", {n}, 'i'),
                              writable<int64_t>(reranked, "reranked", {n}, 'i')};
  if (!found.keys || !found.distances || !found.certified || !found.visited || !found.reranked)
    throw py::value_error("all results must be given");
  py::gil_scoped_release nogil;
  alseg::knn_search(search, num_threads, found);
}

}  // namespace

void register_js_knn(py::module_& m) {
  m.def("js_rerank", &js_rerank, py::arg("queries"), py::arg("query_scale"), py::arg("hist"), py::arg("scale"),
        py::arg("weights"), py::arg("index"), py::arg("num_threads"), py::arg("out"),
        "Fill `out`; see kernels/js_rerank/native_cpu.py.");
  m.def("js_knn", &js_knn, py::arg("queries"), py::arg("query_scale"), py::arg("blocks"), py::arg("k"),
        py::arg("weights"), py::arg("exclude"), py::arg("within"), py::arg("candidates"), py::arg("num_threads"),
        py::arg("keys"), py::arg("distances"), py::arg("certified"), py::arg("visited"), py::arg("reranked"),
        "Fill the results; see kernels/js_knn/native_cpu.py.");
}
