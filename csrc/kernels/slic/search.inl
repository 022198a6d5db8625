// The nearest centre of every pixel of some rows of one band, in blocks of kSlicBlock pixels. All distances are
// 16-bit integers: the sum of the colour differences in three channels and the cost of the distances along x and y.

inline vw abs_w(vw v) { return v < 0 ? -v : v; }

constexpr int16_t kNoCentre = -1;
constexpr int kSlicRows = 2;  // rows searched together: they share what a centre costs to broadcast

struct Candidate {
  int16_t color[3];
  uint16_t gain;
  const int16_t* x_cost;  // of the block's first pixel
  const int16_t* y_cost;  // of row 0
  int32_t cluster;
  SlicSums* sums;
};

// The candidates of all blocks of one band.
struct SlicBlocks {
  Candidate* candidates;
  int32_t* first;  // [blocks + 1]
  int16_t* code;   // [kSlicRows, pitch] candidate of each pixel
  int16_t* far;    // [kSlicRows, pitch] adaptive: its colour distance
};

inline int64_t slic_blocks(const SlicJob& job) { return job.pitch / kSlicBlock; }

// Clusters of band `near` that the block at x is compared with: [*begin, *end).
inline void columns_near(const SlicJob& job, int64_t near, int64_t x, int64_t* begin, int64_t* end) {
  const int64_t base = job.band_clusters[near], n = job.band_clusters[near + 1] - base;
  const int64_t last = x + kSlicBlock < job.width ? x + kSlicBlock - 1 : job.width - 1;
  const int64_t left = slic_cell_of(x, n, job.width) - 1, right = slic_cell_of(last, n, job.width) + 2;
  *begin = base + (left > 0 ? left : 0);
  *end = base + (right < n ? right : n);
}

// At most this many candidates a band has: every cluster of three bands for each block it is near.
inline int64_t most_candidates(const SlicJob& job) {
  int64_t most = 0;
  for (int64_t b = 0; b < job.n_bands; ++b) {
    const int64_t n = job.band_clusters[b + 1] - job.band_clusters[b];
    // A block of m pixels touches at most m cells, and at most n (m - 1) / W + 2.
    const int64_t touched = (n * (kSlicBlock - 1) + job.width - 1) / job.width + 2;
    const int64_t each = (touched < kSlicBlock ? touched : kSlicBlock) + 2;
    most = most > each ? most : each;
  }
  return 3 * most * slic_blocks(job);
}

int64_t slic_scratch(const SlicJob& job) {
  const int64_t bytes = most_candidates(job) * static_cast<int64_t>(sizeof(Candidate)) +
                        (slic_blocks(job) + 2) / 2 * 8 + kSlicRows * job.pitch * 4 + 64;
  const int64_t most = bytes > planes_scratch(job) ? bytes : planes_scratch(job);
  return most / static_cast<int64_t>(sizeof(float)) + 1;
}

inline SlicBlocks find_candidates(const SlicJob& job, int64_t band, float* scratch) {
  SlicBlocks blocks;
  blocks.candidates = reinterpret_cast<Candidate*>(scratch);
  blocks.first = reinterpret_cast<int32_t*>(blocks.candidates + most_candidates(job));
  blocks.code = reinterpret_cast<int16_t*>(blocks.first + (slic_blocks(job) + 2) / 2 * 2);
  blocks.far = blocks.code + kSlicRows * job.pitch;
  int32_t n = 0;
  for (int64_t block = 0; block < slic_blocks(job); ++block) {
    blocks.first[block] = n;
    const int64_t x = block * kSlicBlock;
    for (int64_t side = -1; side <= 1; ++side) {
      if (band + side < 0 || band + side >= job.n_bands) continue;
      int64_t k, end;
      columns_near(job, band + side, x, &k, &end);
      for (; k < end; ++k) {
        if (job.active && !job.active[k]) continue;
        const SlicCentre& c = job.centres[k];
        Candidate& to = blocks.candidates[n++];
        for (int i = 0; i < 3; ++i) to.color[i] = c.color[i];
        to.gain = c.gain;
        to.x_cost = job.spatial[c.x & 3] + (x - (c.x >> 2));
        to.y_cost = job.spatial[c.y & 3] - (c.y >> 2);
        to.cluster = static_cast<int32_t>(k);
        to.sums = job.sums + (1 - side) * job.n_clusters + k;
      }
    }
  }
  blocks.first[slic_blocks(job)] = n;
  return blocks;
}

// Rows y and y + step (R = 2), or y alone.
template <int R, bool kAdaptive>
inline void search_block(const SlicJob& job, const SlicBlocks& blocks, int64_t block, int64_t y, int64_t step) {
  const Candidate* const begin = blocks.candidates + blocks.first[block];
  const int n = blocks.first[block + 1] - blocks.first[block];
  const int shift = job.color_shift;
  for (int64_t i = 0; i < kSlicBlock; i += kWords) {
    const int64_t x = block * kSlicBlock + i;
    vw pixel[R][3], best[R], code[R], far[R];
    for (int r = 0; r < R; ++r) {
      const uint8_t* const plane = job.planes + (y + r * step) * 3 * job.pitch + x;
      for (int c = 0; c < 3; ++c) pixel[r][c] = load_bytes(plane + c * job.pitch) << shift;
      best[r] = splat_w(INT16_MAX);
      code[r] = splat_w(kNoCentre);
      far[r] = vw{};
    }
    for (int k = 0; k < n; ++k) {
      const Candidate& c = begin[k];
      const vw x_cost = load_w(c.x_cost + i);
      for (int r = 0; r < R; ++r) {
        vw d = abs_w(pixel[r][0] - c.color[0]) + abs_w(pixel[r][1] - c.color[1]) + abs_w(pixel[r][2] - c.color[2]);
        const vw color = d;
        if (kAdaptive) d = scale_w(d, c.gain);
        d += x_cost + c.y_cost[y + r * step];
        const vw nearer = d < best[r];
        best[r] = min_w(best[r], d);
        code[r] = nearer ? splat_w(static_cast<int16_t>(k)) : code[r];
        if (kAdaptive) far[r] = nearer ? color : far[r];
      }
    }
    for (int r = 0; r < R; ++r) {
      if (job.mask) {
        const uint8_t* const mask = job.mask + (y + r * step) * job.width;
        for (int64_t j = 0; j < kWords && x + j < job.width; ++j)
          if (!mask[x + j]) code[r][j] = kNoCentre;
      }
      store_w(blocks.code + r * job.pitch + x, code[r]);
      if (kAdaptive) store_w(blocks.far + r * job.pitch + x, far[r]);
    }
  }
}

inline void search_rows(const SlicJob& job, const SlicBlocks& blocks, int64_t y, int64_t step, int n_rows) {
  for (int64_t block = 0; block < slic_blocks(job); ++block) {
    if (job.adaptive) {
      n_rows == 2 ? search_block<2, true>(job, blocks, block, y, step)
                  : search_block<1, true>(job, blocks, block, y, step);
    } else {
      n_rows == 2 ? search_block<2, false>(job, blocks, block, y, step)
                  : search_block<1, false>(job, blocks, block, y, step);
    }
  }
}
