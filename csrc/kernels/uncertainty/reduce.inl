// From the rows of measures and labels to sums: over the image, over classes, over segments.

constexpr int64_t kSumBlock = 1024;  // pixels added up in float before they join a double

// Sum of row[begin, end).
inline double sum_of(const float* row, int64_t begin, int64_t end) {
  double total = 0.0;
  for (int64_t x = begin; x < end;) {
    const int64_t stop = end - x > kSumBlock ? x + kSumBlock : end;
    float part = 0.0f;
    if (x + kLanes <= stop) {
      vf wide = vf{};
      for (; x + kLanes <= stop; x += kLanes) wide += load(row + x);
      part = hsum(wide);
    }
    for (; x < stop; ++x) part += row[x];
    total += static_cast<double>(part);
  }
  return total;
}

inline float max_of(const float* row, int64_t width) {
  vf top = vf{};  // every measure is >= 0
  int64_t x = 0;
  for (; x + kLanes <= width; x += kLanes) top = vmax(top, load(row + x));
  float best = hmax(top);
  for (; x < width; ++x) best = row[x] > best ? row[x] : best;
  return best;
}

// Sum and maximum of a row of one measure.
inline void add_row(const float* row, int64_t width, double* sum, float* max) {
  const float best = max_of(row, width);
  *sum += sum_of(row, 0, width);
  *max = best > *max ? best : *max;
}

inline void add_class_run(const UncertaintyJob& job, float* const* rows, int64_t begin, int64_t end, int64_t label,
                          const ChunkSums& sums) {
  sums.class_count[label] += end - begin;
  const int64_t classes = n_labels(job);
  for (int m = 0; m < kMeasures; ++m)
    if (job.measures >> m & 1u)
      sums.class_sum[m * classes + label] += sum_of(rows[m], begin, end);
}

// Adds the row's pixels to their classes, one run of equal labels at a time.
template <typename Label>
void add_classes(const UncertaintyJob& job, const Label* labels, float* const* rows, const ChunkSums& sums) {
  const int64_t width = job.out_w, per_word = 8 / sizeof(Label);
  constexpr uint64_t ones = sizeof(Label) == 1 ? 0x0101010101010101u : 0x0001000100010001u;
  for (int64_t begin = 0; begin < width;) {
    const Label label = labels[begin];
    const uint64_t pattern = ones * label;
    int64_t end = begin + 1;
    for (uint64_t word; end + per_word <= width; end += per_word) {
      std::memcpy(&word, labels + end, 8);
      if (word != pattern) break;
    }
    while (end < width && labels[end] == label) ++end;
    add_class_run(job, rows, begin, end, label, sums);
    begin = end;
  }
}

inline int64_t count_valid(const uint8_t* valid, int64_t width) {
  int64_t n = 0;
  for (int64_t x = 0; x < width; ++x) n += valid[x];
  return n;
}

// Invalid pixels become 0, which no sum and no maximum of measures >= 0 notices.
inline void clear_invalid(float* row, const uint8_t* valid, int64_t width) {
  for (int64_t x = 0; x < width; ++x) row[x] = valid[x] ? row[x] : 0.0f;
}

template <typename Label>
inline void widen_labels(const Label* labels, const uint8_t* valid, int64_t width, int32_t* ids) {
  if (valid) {
    for (int64_t x = 0; x < width; ++x) ids[x] = valid[x] ? static_cast<int32_t>(labels[x]) : -1;
  } else {
    for (int64_t x = 0; x < width; ++x) ids[x] = static_cast<int32_t>(labels[x]);
  }
}

template <bool SHARED>
inline void add_to(int64_t* cell, int64_t value) {
  if (SHARED) {
    __atomic_fetch_add(cell, value, __ATOMIC_RELAXED);
  } else {
    *cell += value;
  }
}

// Adds a run of one label >= 0 to its segment and, with class_stats, to its class.
template <bool SHARED>
inline void add_segment_run(const UncertaintyJob& job, float* const* rows, int64_t begin, int64_t end, int32_t label,
                            int32_t segment, const ChunkSums& sums) {
  const SegmentSums& to = sums.segments;
  const int64_t labels = n_labels(job);
  add_to<SHARED>(to.area + segment, end - begin);
  if (to.class_count) add_to<SHARED>(to.class_count + segment * labels + label, end - begin);
  if (job.class_stats) sums.class_count[label] += end - begin;
  for (int m = 0; m < kMeasures; ++m) {
    if (!(job.measures >> m & 1u)) continue;
    const double total = sum_of(rows[m], begin, end), scaled = total * to.scale;
    if (job.class_stats) sums.class_sum[m * labels + label] += total;
    // NaN and inf come from logits that are not finite, which the status reports; they have no integer.
    if (scaled < 9e18) add_to<SHARED>(to.sum + m * job.n_segments + segment, static_cast<int64_t>(scaled + 0.5));
  }
}

// First pixel from `at` on that has another label or key than given, or `width`.
inline int64_t run_end(const int32_t* ids, const int32_t* keys, int32_t id, int32_t key, int64_t at, int64_t width) {
  for (; at + kLanes <= width; at += kLanes) {
    const int same = first_set((load_i(ids + at) ^ id) | (load_i(keys + at) ^ key));
    if (same < kLanes) return at + same;
  }
  while (at < width && ids[at] == id && keys[at] == key) ++at;
  return at;
}

template <bool SHARED>
inline void add_segments(const UncertaintyJob& job, const int32_t* ids, const int32_t* segments, float* const* rows,
                         const ChunkSums& sums) {
  for (int64_t begin = 0, end; begin < job.out_w; begin = end) {
    const int32_t id = ids[begin], segment = segments[begin];
    end = run_end(ids, segments, id, segment, begin + 1, job.out_w);
    if (segment < 0 || segment >= job.n_segments) {
      *sums.status |= kBadSegment;
      if (job.class_stats && id >= 0) add_class_run(job, rows, begin, end, id, sums);
    } else if (id >= 0) {
      add_segment_run<SHARED>(job, rows, begin, end, id, segment, sums);
    }
  }
}

// Adds the row's valid pixels to their classes and segments, one run of equal label and segment at a time.
// ids holds labels, or -1 for a pixel that is not valid; without a segment map all pixels lie in one segment.
void add_runs(const UncertaintyJob& job, const int32_t* ids, const int32_t* segments, float* const* rows,
              const ChunkSums& sums) {
  if (segments) {
    if (sums.segments.shared) {
      add_segments<true>(job, ids, segments, rows, sums);
    } else {
      add_segments<false>(job, ids, segments, rows, sums);
    }
    return;
  }
  for (int64_t begin = 0, end; begin < job.out_w; begin = end) {
    const int32_t id = ids[begin];
    end = run_end(ids, ids, id, id, begin + 1, job.out_w);
    if (job.class_stats && id >= 0) add_class_run(job, rows, begin, end, id, sums);
  }
}
