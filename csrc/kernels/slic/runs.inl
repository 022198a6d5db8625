// From the nearest centres of a row to runs of equal ones: added to the sums of the clusters, or written down.

// Calls take(candidate or null, begin, end) for the runs of row r, which end with the blocks too.
template <typename Take>
inline void for_runs(const SlicJob& job, const SlicBlocks& blocks, int r, const Take& take) {
  for (int64_t block = 0; block < slic_blocks(job); ++block) {
    const int16_t* const code = blocks.code + r * job.pitch + block * kSlicBlock;
    const int64_t x = block * kSlicBlock, room = job.width - x;
    const uint32_t inside = room >= kSlicBlock ? UINT32_MAX : (uint32_t{1} << room) - 1;
    uint32_t ends = (changes(code) & inside) | (room >= kSlicBlock ? uint32_t{1} << 31 : uint32_t{1} << (room - 1));
    const Candidate* const candidates = blocks.candidates + blocks.first[block];
    int begin = 0;
    for (; ends; ends &= ends - 1) {
      const int end = __builtin_ctz(ends) + 1;
      take(code[begin] < 0 ? nullptr : candidates + code[begin], x + begin, x + end);
      begin = end;
    }
  }
}

// Assigns the sampled rows of one band and adds their pixels to the sums of the three bands they may belong to.
void slic_gather(const SlicJob& job, int64_t band, float* scratch) {
  const SlicBlocks blocks = find_candidates(job, band, scratch);
  const int64_t end = job.band_rows[band + 1], step = job.row_step;
  for (int64_t y = sampled_from(job, job.band_rows[band]); y < end; y += kSlicRows * step) {
    const int n_rows = y + step < end ? 2 : 1;
    search_rows(job, blocks, y, step, n_rows);
    for (int r = 0; r < n_rows; ++r) {
      const int64_t row = y + r * step;
      const uint64_t* const prefix = prefix_of(job, row);
      const int16_t* const far = blocks.far + r * job.pitch;
      for_runs(job, blocks, r, [&](const Candidate* c, int64_t x0, int64_t x1) {
        if (!c) return;
        add_run(prefix, row, x0, x1, c->sums);
        if (!job.adaptive) return;
        for (int64_t x = x0; x < x1; ++x)
          if (far[x] > c->sums->farthest) c->sums->farthest = far[x];
      });
    }
  }
}

// Assigns all rows of one band and writes them as runs.
void slic_assign(const SlicJob& job, int64_t band, float* scratch) {
  const SlicBlocks blocks = find_candidates(job, band, scratch);
  const int64_t begin = job.band_rows[band], end = job.band_rows[band + 1];
  int64_t n = begin * job.width;
  for (int64_t y = begin; y < end; y += kSlicRows) {
    const int n_rows = y + 1 < end ? 2 : 1;
    search_rows(job, blocks, y, 1, n_rows);
    for (int r = 0; r < n_rows; ++r) {
      job.row_runs[2 * (y + r)] = static_cast<int32_t>(n);
      int32_t last = -2;
      for_runs(job, blocks, r, [&](const Candidate* c, int64_t x0, int64_t) {
        const int32_t cluster = c ? c->cluster : -1;
        if (cluster == last) return;
        job.runs[n++] = {static_cast<int32_t>(x0), cluster};
        last = cluster;
      });
      job.row_runs[2 * (y + r) + 1] = static_cast<int32_t>(n);
    }
  }
}
