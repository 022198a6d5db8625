// Softmax of a band: output rows between the same two source rows, evenly spaced, a few at a time.
//
// Down a column of such pixels every logit is a straight line. With A and B the largest logits at the two source
// rows, the chord m = A + f (B - A) is a straight line too and nowhere below the largest logit, so that every
// t = z - m <= 0 is a straight line u + f w, and 2^t a geometric progression: one exponential for kRows rows, and
// one multiplication for each of the others. Interpolation along x and the progression's ratio are worked out once
// a band. Where the chord lies too far above the largest logit, or lines are too steep for the progression, the
// row says so and is done again by the exact path.

constexpr int kFewestRows = 3;  // of a band; below, the exact path is no slower
constexpr float kSteepest = 16.0f;        // |t| may change by so much from row to row
constexpr float kLeastTotal = 0x1p-40f;   // sum of 2^t below which digits would be missing

struct Cell {
  vf u, w, ratio;  // t = u + f w; 2^t times the ratio is that of the next row
};

inline Cell load_cell(const float* p) { return {load(p), load(p + kLanes), load(p + 2 * kLanes)}; }
inline void store_cell(float* p, const Cell& c) {
  store(p, c.u);
  store(p + kLanes, c.w);
  store(p + 2 * kLanes, c.ratio);
}

// Where the pixels of some column blocks lie in a source row, counted from one place for all of them.
struct BlockColumns {
  int32_t base[kColumns];
  vi offset[kColumns];  // in [0, kLanes)
  vf frac[kColumns];
  bool shared;          // all bases are the same: one load serves all blocks
};

inline BlockColumns block_columns_at(const UncertaintyJob& job, int64_t x0) {
  BlockColumns k;
  const int64_t last = (job.out_w - 1) / kLanes * kLanes;
  const int32_t first = job.x_index[x0];
  k.shared = true;
  for (int b = 0; b < kColumns; ++b) {
    // Past the last column the last block is made again, and not used.
    const int64_t x = x0 + b * kLanes < last ? x0 + b * kLanes : last;
    k.base[b] = job.x_index[x];
    k.offset[b] = load_i(job.x_index + x) - k.base[b];
    k.frac[b] = load(job.x_frac + x);
    k.shared &= job.x_index[x + kLanes - 1] - first < kLanes;
  }
  for (int b = 0; k.shared && b < kColumns; ++b) {
    k.offset[b] += k.base[b] - first;
    k.base[b] = first;
  }
  return k;
}

// The logits of all classes of one pass at both source rows, interpolated along x, into the cells of each block.
template <bool kShared>
inline void sample_cells(const float* row0, const float* row1, int64_t classes, int64_t pitch, const BlockColumns& k,
                         float* cells, int64_t block_cells, vf* upper, vf* lower) {
  for (int64_t c = 0; c < classes; ++c, row0 += pitch, row1 += pitch) {
    float* cell = cells + c * kCell;
    vf a0 = load(row0 + k.base[0]), a1 = load(row0 + k.base[0] + 1);
    vf z0 = load(row1 + k.base[0]), z1 = load(row1 + k.base[0] + 1);
    for (int b = 0; b < kColumns; ++b, cell += block_cells) {
      if (!kShared && b > 0) {
        a0 = load(row0 + k.base[b]), a1 = load(row0 + k.base[b] + 1);
        z0 = load(row1 + k.base[b]), z1 = load(row1 + k.base[b] + 1);
      }
      const vf a = lerp(permute(a0, k.offset[b]), permute(a1, k.offset[b]), k.frac[b]);
      const vf z = lerp(permute(z0, k.offset[b]), permute(z1, k.offset[b]), k.frac[b]);
      store(cell, a);
      store(cell + kLanes, z);
      upper[b] = vmax(upper[b], a);
      lower[b] = vmax(lower[b], z);
    }
  }
}

// Lines of all classes of one pass at the pixels of some column blocks, `block_cells` apart; whether all are flat
// enough.
inline bool prepare_cells(const float* row0, const float* row1, int64_t classes, int64_t pitch,
                          const BlockColumns& columns, float gain, float step, float* cells, int64_t block_cells) {
  vf upper[kColumns], lower[kColumns];
  for (int b = 0; b < kColumns; ++b) upper[b] = lower[b] = splat(-3.0e38f);
  if (columns.shared) sample_cells<true>(row0, row1, classes, pitch, columns, cells, block_cells, upper, lower);
  else sample_cells<false>(row0, row1, classes, pitch, columns, cells, block_cells, upper, lower);
  vf steepest = vf{};
  const vf limit = splat(kSteepest);
  for (int b = 0; b < kColumns; ++b, cells += block_cells) {
    for (int64_t c = 0; c < classes; ++c) {
      Cell cell;
      cell.u = (load(cells + c * kCell) - upper[b]) * gain;
      cell.w = (load(cells + c * kCell + kLanes) - lower[b]) * gain - cell.u;
      vf slope = cell.w * step;
      steepest = vmax(steepest, vabs(slope));
      slope = vmin(vmax(slope, -limit), limit);
      cell.ratio = exp2_of(slope);
      store_cell(cells + c * kCell, cell);
    }
  }
  return !any(steepest > limit);
}

// The measures of one column block, kRows rows high.
struct Patch {
  vf measure[kMeasures][kRows];
  vi label[kRows];
};

// One pass. Returns whether every sum is large enough.
template <bool kTop2, bool kArg>
inline bool one_pass_patch(const float* cells, int64_t classes, const vf* f, Patch* out) {
  vf total[kRows], moment[kRows], first[kRows], second[kRows];
  vi arg[kRows];
  for (int r = 0; r < kRows; ++r) {
    total[r] = moment[r] = first[r] = second[r] = vf{};
    arg[r] = vi{};
  }
  for (int64_t c = 0; c < classes;) {
    vf sum[kRows], weighted[kRows];
    for (int r = 0; r < kRows; ++r) sum[r] = weighted[r] = vf{};
    for (const int64_t end = group_end(c, classes); c < end; ++c) {
      const Cell cell = load_cell(cells + c * kCell);
      const vi id = splat_i(static_cast<int32_t>(c));
      vf e = vf{};
      for (int r = 0; r < kRows; ++r) {
        const vf t = cell.u + f[r] * cell.w;
        e = r == 0 ? exp2_of(t) : e * cell.ratio;
        sum[r] += e;
        weighted[r] += t * e;
        if (kArg) arg[r] = e > first[r] ? id : arg[r];
        if (kTop2) second[r] = vmax(second[r], vmin(e, first[r]));
        first[r] = vmax(first[r], e);
      }
    }
    for (int r = 0; r < kRows; ++r) {
      total[r] += sum[r];
      moment[r] += weighted[r];
    }
  }
  vf least = total[0];
  for (int r = 0; r < kRows; ++r) {
    least = vmin(least, total[r]);
    const vf inverse = 1.0f / total[r];
    out->measure[mEntropy][r] = vmax(log_positive(total[r]) - kLn2 * moment[r] * inverse, vf{});
    if (kTop2) out->measure[mMargin][r] = vmax(1.0f - (first[r] - second[r]) * inverse, vf{});
    out->measure[mLeastConfidence][r] = vmax(1.0f - first[r] * inverse, vf{});
    out->measure[mExpectedEntropy][r] = out->measure[mEntropy][r];
    out->measure[mMutualInformation][r] = out->measure[mVariance][r] = out->measure[mVariationRatio][r] = vf{};
    out->label[r] = arg[r];
  }
  return !any(least < splat(kLeastTotal));
}

// One of several passes: leaves 2^t in `row` [C, kRows], 1 / sum in `inverse` [kRows], and adds the entropy.
template <bool kVote>
inline vf pass_patch(const float* cells, int64_t classes, const vf* f, float* row, float* inverse, int32_t* vote,
                     vf* expected) {
  vf total[kRows], moment[kRows], first[kRows];
  vi arg[kRows];
  for (int r = 0; r < kRows; ++r) {
    total[r] = moment[r] = first[r] = vf{};
    arg[r] = vi{};
  }
  for (int64_t c = 0; c < classes;) {
    vf sum[kRows], weighted[kRows];
    for (int r = 0; r < kRows; ++r) sum[r] = weighted[r] = vf{};
    for (const int64_t end = group_end(c, classes); c < end; ++c) {
      const Cell cell = load_cell(cells + c * kCell);
      const vi id = splat_i(static_cast<int32_t>(c));
      vf e = vf{};
      for (int r = 0; r < kRows; ++r) {
        const vf t = cell.u + f[r] * cell.w;
        e = r == 0 ? exp2_of(t) : e * cell.ratio;
        store(row + (c * kRows + r) * kLanes, e);
        sum[r] += e;
        weighted[r] += t * e;
        if (kVote) {
          arg[r] = e > first[r] ? id : arg[r];
          first[r] = vmax(first[r], e);
        }
      }
    }
    for (int r = 0; r < kRows; ++r) {
      total[r] += sum[r];
      moment[r] += weighted[r];
    }
  }
  vf least = total[0];
  for (int r = 0; r < kRows; ++r) {
    least = vmin(least, total[r]);
    const vf share = 1.0f / total[r];
    store(inverse + r * kLanes, share);
    expected[r] += log_positive(total[r]) - kLn2 * moment[r] * share;
    if (kVote) store_i(vote + r * kLanes, arg[r]);
  }
  return least;
}

// The mean over passes, class by class: as combine_passes, in the layout of a patch.
inline void combine_patch(const float* rows, const float* inverses, int64_t classes, int64_t passes,
                          const vf* expected, Patch* out) {
  const int64_t plane = classes * kRows * kLanes;
  const float share = 1.0f / static_cast<float>(passes);
  vf entropy[kRows], variance[kRows], first[kRows], second[kRows];
  vi arg[kRows];
  for (int r = 0; r < kRows; ++r) {
    entropy[r] = variance[r] = vf{};
    first[r] = second[r] = splat(-1.0f);
    arg[r] = vi{};
  }
  for (int64_t c = 0; c < classes;) {
    vf information[kRows], spread[kRows];
    for (int r = 0; r < kRows; ++r) information[r] = spread[r] = vf{};
    for (const int64_t end = group_end(c, classes); c < end; ++c) {
      ClassPasses p[kRows];
      const float *e = rows + c * kRows * kLanes, *inverse = inverses;
      for (int r = 0; r < kRows; ++r) p[r].begin(load(e + r * kLanes) * load(inverse + r * kLanes));
      for (int64_t t = 1; t < passes; ++t) {
        e += plane;
        inverse += kRows * kLanes;
        for (int r = 0; r < kRows; ++r) p[r].add(load(e + r * kLanes) * load(inverse + r * kLanes));
      }
      const vi id = splat_i(static_cast<int32_t>(c));
      for (int r = 0; r < kRows; ++r) {
        const vf mean = p[r].mean(share);
        information[r] -= x_log_x(mean);
        spread[r] += p[r].variance(share);
        arg[r] = mean > first[r] ? id : arg[r];
        second[r] = vmax(second[r], vmin(mean, first[r]));
        first[r] = vmax(first[r], mean);
      }
    }
    for (int r = 0; r < kRows; ++r) {
      entropy[r] += information[r];
      variance[r] += spread[r];
    }
  }
  for (int r = 0; r < kRows; ++r) {
    const vf predictive = vmax(entropy[r], vf{}), mean_entropy = vmax(expected[r] * share, vf{});
    out->measure[mEntropy][r] = predictive;
    out->measure[mMargin][r] = vmax(1.0f - (first[r] - second[r]), vf{});
    out->measure[mLeastConfidence][r] = vmax(1.0f - first[r], vf{});
    out->measure[mExpectedEntropy][r] = mean_entropy;
    out->measure[mMutualInformation][r] = vmax(predictive - mean_entropy, vf{});
    out->measure[mVariance][r] = variance[r] / static_cast<float>(classes);
    out->label[r] = arg[r];
  }
}

template <bool kTop2, bool kArg, bool kVote>
inline bool patch(const UncertaintyJob& job, const Scratch& s, const float* cells, const vf* f, Patch* out) {
  const int64_t classes = job.n_classes, passes = job.n_passes;
  if (passes == 1) return one_pass_patch<kTop2, kArg>(cells, classes, f, out);
  vf expected[kRows], least = splat(1.0f);
  for (int r = 0; r < kRows; ++r) expected[r] = vf{};
  for (int64_t t = 0; t < passes; ++t) {
    const int64_t at = t * kRows * kLanes;
    least = vmin(least, pass_patch<kVote>(cells + t * classes * kCell, classes, f,
                                          s.z + classes * at, s.inverse + at, s.votes + at, expected));
  }
  combine_patch(s.z, s.inverse, classes, passes, expected, out);
  for (int r = 0; kVote && r < kRows; ++r)
    out->measure[mVariationRatio][r] = variation_ratio(s.votes + r * kLanes, passes, kRows * kLanes);
  return !any(least < splat(kLeastTotal));
}

// Output rows from y on, before `end`, that form a band.
inline int64_t band_rows(const UncertaintyJob& job, int64_t y, int64_t end) {
  int64_t n = 1;
  if (end > y + kBandRows) end = y + kBandRows;
  const float step = y + 1 < end ? job.y_frac[y + 1] - job.y_frac[y] : 0.0f;
  while (y + n < end && job.y_index[y + n] == job.y_index[y]) {
    const float off = job.y_frac[y + n] - job.y_frac[y + n - 1] - step;
    if (!(off < 1e-6f && off > -1e-6f)) break;
    ++n;
  }
  return n;
}

// Fills the first `rows` scratch rows with output rows from y on. exact[r] is set where a row must be done again.
template <bool kTop2, bool kArg, bool kVote>
void fill_band(const UncertaintyJob& job, const Scratch& s, int64_t y, int64_t rows, bool* exact) {
  const float step = rows > 1 ? job.y_frac[y + 1] - job.y_frac[y] : 0.0f;
  const int64_t block_cells = planes_of(job) * kCell, last = job.out_w - 1;
  for (int64_t x0 = 0; x0 < job.out_w; x0 += kColumns * kLanes) {
    const BlockColumns columns = block_columns_at(job, x0);
    bool flat = true;
    for (int64_t t = 0; t < job.n_passes; ++t) {
      const int64_t plane = t * job.n_classes * s.pitch;
      flat &= prepare_cells(s.row0 + plane, s.row1 + plane, job.n_classes, s.pitch, columns, gain_of(job), step,
                            s.cells + t * job.n_classes * kCell, block_cells);
    }
    for (int b = 0; b < kColumns && x0 + b * kLanes <= last; ++b) {
      const int64_t x = x0 + b * kLanes;
      for (int64_t first = 0; first < rows; first += kRows) {
        vf f[kRows];  // past the band, the progression goes on and its rows are dropped
        for (int r = 0; r < kRows; ++r) f[r] = splat(job.y_frac[y + first] + static_cast<float>(r) * step);
        Patch pixels;
        const bool fine = patch<kTop2, kArg, kVote>(job, s, s.cells + b * block_cells, f, &pixels);
        for (int r = 0; r < kRows && first + r < rows; ++r) {
          const Row row = scratch_row(job, s, first + r);
          for (int m = 0; m < kMeasures; ++m)
            if (job.measures >> m & 1u) store(row.measure[m] + x, pixels.measure[m][r]);
          if (kArg) store_labels(row.labels, job.label_bytes, x, pixels.label[r]);
          if (!(fine && flat)) exact[first + r] = true;
        }
      }
    }
  }
}
