// The kernel table: one pointer per operation, filled once per instruction set.
#pragma once
#include "kernels/jobs.h"

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
  // Rows [y0, y1) as planes and running sums; then, band by band, the sums of its cells, of its sampled pixels by
  // nearest centre, and its runs.
  void (*slic_planes)(const SlicJob&, int64_t y0, int64_t y1, float* scratch);
  void (*slic_seed)(const SlicJob&, int64_t band);
  int64_t (*slic_scratch)(const SlicJob&);
  void (*slic_gather)(const SlicJob&, int64_t band, float* scratch);
  void (*slic_assign)(const SlicJob&, int64_t band, float* scratch);
};

// The table in use: the best this CPU has, unless set_level() chose another.
const KernelTable& kernels();

// Names of the levels this build holds and this CPU can run, worst first; null-terminated.
const char* const* available_levels();

// Pins a level (for tests and for comparing). Returns false if it is not available.
bool set_level(const char* name);

}  // namespace alseg
