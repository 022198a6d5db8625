// Rows of one image: load, blend, measure, store, reduce.

// The last, partial step goes through a buffer: a map row ends where it ends.
void store_tail(const UncertaintyJob& job, const Pixels& pixels, int64_t x, float* const* measure_row, char* label_row) {
  const size_t left = static_cast<size_t>(job.out_w - x);
  float tail[kStep];
  for (int m = 0; m < kMeasures; ++m) {
    if (!(job.measures >> m & 1u)) continue;
    for (int b = 0; b < kBlocks; ++b) store(tail + b * kLanes, pixels.measure[m][b]);
    std::memcpy(measure_row[m] + x, tail, left * sizeof(float));
  }
  if (!label_row) return;
  for (int b = 0; b < kBlocks; ++b) store_labels(tail, job.label_bytes, b * kLanes, pixels.label[b]);
  std::memcpy(label_row + x * job.label_bytes, tail, left * static_cast<size_t>(job.label_bytes));
}

template <bool kNarrow, bool kTop2, bool kArg>
inline void block(const UncertaintyJob& job, const Scratch& s, int64_t x, Pixels* out) {
  const Columns k = columns_at(job, x);
  if (job.n_passes > 1) {
    passes_block<kNarrow>(job, s, k, out);
    return;
  }
  switch (job.activation) {
    case Activation::softmax: softmax_block<kNarrow, kTop2, kArg>(job, s, k, out); break;
    case Activation::sigmoid: sigmoid_block<kNarrow>(job, s, k, out); break;
    case Activation::probabilities: probabilities_block<kNarrow>(job, s, k, out); break;
  }
  if (job.measures & bit_of(mExpectedEntropy))
    for (int b = 0; b < kBlocks; ++b) out->measure[mExpectedEntropy][b] = out->measure[mEntropy][b];
  if (job.measures & kComparing)
    for (int m = mMutualInformation; m <= mVariationRatio; ++m)
      for (int b = 0; b < kBlocks; ++b) out->measure[m][b] = vf{};
}

inline int64_t lower_row(const UncertaintyJob& job, int64_t y) {
  const int64_t top = job.y_index[y];
  return top + 1 < job.in_h ? top + 1 : top;
}

// Downsampling skips source rows; a NaN in one of them must be noticed all the same.
inline void check_skipped_rows(const UncertaintyJob& job, int64_t y, const Scratch& s,
                               int64_t* upper, unsigned* status) {
  const int64_t from = y == 0 ? 0 : lower_row(job, y - 1) + 1;
  for (int64_t r = from; r < job.y_index[y]; ++r) {
    *status |= load_row(job, r, s.row0, s.pitch);
    *upper = -1;
  }
  if (y + 1 < job.out_h) return;
  for (int64_t r = lower_row(job, y) + 1; r < job.in_h; ++r) {
    *status |= load_row(job, r, s.row0, s.pitch);
    *upper = -1;
  }
}

// Source rows around output row y into rows->row0 and row1, keeping what the row above has loaded.
struct Loaded {
  int64_t upper = -1, lower = -1;
};

inline void load_rows(const UncertaintyJob& job, int64_t y, Scratch* rows, Loaded* loaded, unsigned* status) {
  const int64_t top = job.y_index[y], bottom = lower_row(job, y);
  check_skipped_rows(job, y, *rows, &loaded->upper, status);
  if (top != loaded->upper) {
    if (top == loaded->lower) {
      float* swap = rows->row0;
      rows->row0 = rows->row1;
      rows->row1 = swap;
    } else {
      *status |= load_row(job, top, rows->row0, rows->pitch);
    }
    loaded->upper = top;
    loaded->lower = -1;
  }
  if (bottom != loaded->lower) {
    *status |= load_row(job, bottom, rows->row1, rows->pitch);
    loaded->lower = bottom;
  }
}

// Sums of one finished row.
inline void reduce_row(const UncertaintyJob& job, const Scratch& s, int64_t y, const Row& row, const ChunkSums& sums) {
  const int64_t width = job.out_w;
  const uint8_t* const valid = job.valid ? job.valid + y * width : nullptr;
  *sums.n_valid += valid ? count_valid(valid, width) : width;
  for (int m = 0; m < kMeasures; ++m) {
    if (!(job.measures >> m & 1u)) continue;
    if (valid) clear_invalid(row.measure[m], valid, width);
    if (job.sums) add_row(row.measure[m], width, sums.sum + m, sums.max + m);
  }
  const auto* const bytes = reinterpret_cast<const uint8_t*>(row.labels);
  const auto* const words = reinterpret_cast<const uint16_t*>(row.labels);
  if (job.segments || (valid && job.class_stats)) {
    if (job.label_bytes == 1) widen_labels(bytes, valid, width, s.label_ids);
    else widen_labels(words, valid, width, s.label_ids);
    add_runs(job, s.label_ids, job.segments ? job.segments + y * width : nullptr, row.measure, sums);
  } else if (job.class_stats) {
    if (job.label_bytes == 1) add_classes(job, bytes, row.measure, sums);
    else add_classes(job, words, row.measure, sums);
  }
}

// One output row by itself, from the loaded source rows.
template <bool kNarrow, bool kTop2, bool kArg>
void fill_row(const UncertaintyJob& job, const Scratch& s, int64_t y, const Row& row) {
  blend_rows(job, s, job.y_frac[y]);
  for (int64_t x = 0; x < job.out_w; x += kStep) {
    Pixels pixels;
    block<kNarrow, kTop2, kArg>(job, s, x, &pixels);
    if (x + kStep > job.out_w) {
      store_tail(job, pixels, x, row.measure, kArg ? row.labels : nullptr);
      break;
    }
    for (int m = 0; m < kMeasures; ++m)
      if (job.measures >> m & 1u)
        for (int b = 0; b < kBlocks; ++b) store(row.measure[m] + x + b * kLanes, pixels.measure[m][b]);
    if (kArg)
      for (int b = 0; b < kBlocks; ++b) store_labels(row.labels, job.label_bytes, x + b * kLanes, pixels.label[b]);
  }
}

template <bool kNarrow, bool kTop2, bool kArg>
void rows_of(const UncertaintyJob& job, int64_t y0, int64_t y1, const ChunkSums& sums, float* scratch) {
  Scratch s = carve(job, scratch);
  const bool bands = kNarrow && job.activation == Activation::softmax && job.measures;
  const bool votes = job.n_passes > 1 && job.measures & bit_of(mVariationRatio);
  Loaded loaded;
  for (int64_t y = y0, rows = 1; y < y1; y += rows) {
    load_rows(job, y, &s, &loaded, sums.status);
    bool exact[kBandRows] = {};
    rows = bands ? band_rows(job, y, y1) : 1;
    if (rows < kFewestRows) {
      rows = 1;
      exact[0] = true;
    } else if (votes) {
      fill_band<kTop2, kArg, true>(job, s, y, rows, exact);
    } else {
      fill_band<kTop2, kArg, false>(job, s, y, rows, exact);
    }
    for (int64_t r = 0; r < rows; ++r) {
      if (r > 0) load_rows(job, y + r, &s, &loaded, sums.status);
      const Row row = exact[r] ? map_row(job, s, y + r) : scratch_row(job, s, r);
      if (exact[r]) fill_row<kNarrow, kTop2, kArg>(job, s, y + r, row);
      reduce_row(job, s, y + r, row, sums);
      if (!exact[r]) deliver_row(job, row, y + r);
    }
  }
}

// Whether every vector of pixels draws on at most kLanes neighbouring source columns.
inline bool is_narrow(const UncertaintyJob& job) {
  for (int64_t x = 0; x < job.out_w; x += kLanes)
    if (job.x_index[x + kLanes - 1] - job.x_index[x] >= kLanes) return false;
  return true;
}

template <bool kNarrow>
void rows_by_need(const UncertaintyJob& job, int64_t y0, int64_t y1, const ChunkSums& sums, float* scratch) {
  const bool top2 = job.measures & bit_of(mMargin), arg = job.labels || job.class_stats || job.segments;
  if (top2 && arg) rows_of<kNarrow, true, true>(job, y0, y1, sums, scratch);
  else if (top2) rows_of<kNarrow, true, false>(job, y0, y1, sums, scratch);
  else if (arg) rows_of<kNarrow, false, true>(job, y0, y1, sums, scratch);
  else rows_of<kNarrow, false, false>(job, y0, y1, sums, scratch);
}

void uncertainty_rows(const UncertaintyJob& job, int64_t y0, int64_t y1, const ChunkSums& sums, float* scratch) {
  if (is_narrow(job)) rows_by_need<true>(job, y0, y1, sums, scratch);
  else rows_by_need<false>(job, y0, y1, sums, scratch);
}
