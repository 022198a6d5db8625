// The kernel table: one pointer per operation, filled once per instruction set.
#pragma once
#include "kernels/dense_crf/jobs.h"
#include "kernels/histogram/jobs.h"
#include "kernels/jobs.h"
#include "kernels/knn/jobs.h"
#include "kernels/mixture/jobs.h"

namespace alseg {

struct KernelTable {
  const char* name;
  // Scratch floats one chunk of the operation needs.
  int64_t (*uncertainty_scratch)(const UncertaintyJob&);
  // Rows [y0, y1) of one image: maps, labels, and the chunk's partial sums.
  void (*uncertainty_rows)(const UncertaintyJob&, int64_t y0, int64_t y1, const ChunkSums&, float* scratch);
  // Adds rows [y0, y1) of a one-class job to the sums.
  void (*foreground_rows)(const UncertaintyJob&, int64_t y0, int64_t y1, ForegroundSums*, float* scratch);
  int64_t (*impurity_scratch)(const ImpurityJob&);
  // Rows [y0, y1) of the score; returns status bits (kNotFinite, kOutOfRange for a label).
  unsigned (*impurity_rows)(const ImpurityJob&, int64_t y0, int64_t y1, float* scratch);
  void (*edge_rows)(const EdgeJob&, int64_t y0, int64_t y1, float* scratch);
  void (*dilate_rows)(const EdgeJob&, const uint8_t* in, int64_t radius, int64_t y0, int64_t y1, float* scratch);
  // The values >= threshold, in order; returns their number. `out` holds n + kPackPad floats.
  int64_t (*pack_values)(const float* values, int64_t n, float threshold, float* out);
  int64_t (*resize_scratch)(const ResizeJob&);
  void (*resize_rows)(const ResizeJob&, int64_t y0, int64_t y1, float* scratch);
  int64_t (*class_probs_scratch)(const ClassProbsJob&);
  // Pixels [p0, p1); returns status bits (kNotFinite, kOutOfRange).
  unsigned (*class_probs)(const ClassProbsJob&, int64_t p0, int64_t p1, float* scratch);
  int64_t (*region_crf_scratch)(const RegionCrfJob&);
  // Regions [r0, r1) of `next` [S, pitch] from all of `q`.
  void (*region_crf_step)(const RegionCrfJob&, const float* q, float* next, int64_t r0, int64_t r1, float* scratch);
  // Rows [y0, y1) as planes and running sums; then, band by band, the sums of its cells, of its sampled pixels by
  // nearest centre, and its runs.
  void (*slic_planes)(const SlicJob&, int64_t y0, int64_t y1, float* scratch);
  void (*slic_seed)(const SlicJob&, int64_t band);
  int64_t (*slic_scratch)(const SlicJob&);
  void (*slic_gather)(const SlicJob&, int64_t band, float* scratch);
  void (*slic_assign)(const SlicJob&, int64_t band, float* scratch);
  // Vertices and barycentric weights [blocks, corners, kCrfBlock] of a tile's pixels, and the list of its vertices.
  void (*crf_tile_simplices)(const CrfSimplexJob&, const CrfTile&, CrfSlots&, uint16_t* ids, float* weights);
  int64_t (*crf_pitch)(int64_t n_classes);  // floats of a vertex
  void (*crf_collect)(const float* slots, const int64_t* first, const int32_t* slot, int64_t begin, int64_t end,
                      int64_t pitch, float* values);
  void (*crf_blur_lattice)(const float* in, const int32_t* neighbour, int64_t begin, int64_t end, int64_t pitch,
                           float* out);
  void (*crf_blur_line)(const float* in, int64_t length, int64_t begin, int64_t end, int64_t stride, int64_t pitch,
                        const float* taps, int radius, float* out);
  void (*crf_penalise)(float* values, int64_t begin, int64_t end, int64_t n_classes, int64_t pitch,
                       const float* penalty, float* scratch);
  int64_t (*crf_sweep_scratch)(const CrfSweep&, const CrfTile&);
  unsigned (*crf_sweep_tile)(const CrfSweep&, const CrfTile&, float* scratch);
  void (*crf_filter_tile)(const CrfSweep&, const CrfTile&, float* scratch);
  // Nearest histograms. A tile is a panel of rows [dim, knn_panel] times a group of queries [dim, knn_group].
  int64_t knn_panel, knn_group;
  int64_t (*knn_padded)(int64_t dim);  // whole vectors: the length of an embedded row
  void (*knn_embed_row)(const HistRows&, int64_t row, const double* weights, float* out);
  void (*knn_mass_row)(const HistRows&, int64_t row, const double* weights, float* out);
  int64_t (*knn_panel_floats)(int64_t dim);
  int64_t (*knn_panel_scratch)(int64_t dim);
  void (*knn_pack_panel)(const HistRows&, int64_t first, int64_t n, const double* weights, float* scratch,
                         float* panel);
  void (*knn_pack_points)(const float* points, int64_t dim, int64_t n, float* scratch, float* panel);
  void (*knn_pack_group)(const float* vectors, int64_t pitch, const int32_t* which, int64_t n, int64_t dim,
                         float* group);
  int (*knn_hits)(const float* panel, const float* group, int64_t dim, int64_t n_rows, const float* least,
                  KnnHit* hits);
  int (*knn_row_hits)(const HistRows&, int64_t first, int64_t n, const double* weights, const float* embedded,
                      const int32_t* which, int64_t n_queries, const float* least, float* scratch, KnnHit* hits);
  void (*knn_point_distances)(const float* panel, const float* group, int64_t dim, int64_t n_rows, int64_t n_queries,
                              int64_t pitch, float* distances);
  void (*knn_nearest_point)(const float* panels, const float* group, int64_t dim, const float* norms,
                            int64_t n_points, int32_t* nearest);
  float (*knn_distance)(const float* a, const float* b, int64_t dim);
  float (*knn_divergence)(const float* p, const HistRows&, int64_t row, const double* weights);
  float (*knn_divergence_error)(int64_t dim, int64_t channels);
  double (*js_row_sum)(const float* p, const float* others, int64_t pitch, int64_t n);
  void (*js_shares)(const HistRows&, int64_t row, double* shares);
  double (*js_exact)(const double* p, const double* q, int64_t dim, int64_t channels, const double* weights);
  // Adds rows [y0, y1) of one image to counts [dim].
  int64_t (*histogram_scratch)(const HistogramJob&);
  void (*histogram_rows)(const HistogramJob&, int64_t y0, int64_t y1, uint64_t* counts, float* scratch);
  // Rows [y0, y1) saturated and resized across; rows of the small image; then its values, added to counts [3, 256].
  int64_t (*belharbi_scratch)(const BelharbiJob&);
  void (*belharbi_across)(const BelharbiJob&, int64_t y0, int64_t y1, float* scratch);
  void (*belharbi_along)(const BelharbiJob&, int64_t y0, int64_t y1);
  void (*belharbi_count)(const BelharbiJob&, int64_t y0, int64_t y1, uint64_t* counts, float* scratch);
  // Counts and moments of positions [begin, end), added to whole numbers [bins, 3] or set as weighted ones; an iteration
  // of a mixture of Gaussians; perplexities or their reciprocals with their sums. Status bits.
  int64_t (*moments_scratch)(const MomentsJob&);
  unsigned (*count_moments)(const MomentsJob&, int64_t begin, int64_t end, uint64_t* sums, float* scratch);
  unsigned (*weigh_moments)(const MomentsJob&, int64_t begin, int64_t end, double* sums, float* scratch);
  double (*mixture_step)(const MixturePoints&, int n_components, const Gaussian* components, const double* constants,
                         double* sums);
  unsigned (*reliability_terms)(const ReliabilityJob&, const float* map, const uint8_t* valid, int64_t n,
                                bool reciprocal, float* out, double* sums);
  void (*scale_valid)(float* values, const uint8_t* valid, int64_t n, float scale);
};

// The table in use: the best this CPU has, unless set_level() chose another.
const KernelTable& kernels();

// Names of the levels this build holds and this CPU can run, worst first; null-terminated.
const char* const* available_levels();

// Pins a level (for tests and for comparing). Returns false if it is not available.
bool set_level(const char* name);

}  // namespace alseg
