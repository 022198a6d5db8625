// The simplex of the permutohedral lattice that each pixel lies in (Adams, Baek, Davis 2010), kLanes pixels at once,
// and the numbers of its vertices within the tile.
//
// A vertex of the lattice is a sum of t[i] u[i], i < d, with u[i] the vector that is d at i and -1 elsewhere: its
// coordinates differ by t[i] - t[j] = (key[i] - key[j]) / (d + 1), and t[d] = 0. So a vertex is d small integers, the
// next vertex of a simplex is one subtraction of a packed u, and so is a neighbour for the blur.

template <int D>
inline void find_simplices(const CrfSimplexJob& job, int64_t y, int64_t x, int n, float* weights, int32_t* low_word,
                           int32_t* high_word, int32_t* order) {
  constexpr float kUp = D + 1, kDown = 1.0f / (D + 1);
  float color[D - 2][kCrfBlock];
  const uint8_t* pixel = job.image + (y * job.width + x) * (D - 2);
  for (int c = 0; c < D - 2; ++c) {
    int i = 0;
    for (; i < n; ++i) color[c][i] = pixel[i * (D - 2) + c];
    for (; i < kCrfBlock; ++i) color[c][i] = 0.0f;
  }
  for (int at = 0; at < kCrfBlock; at += kLanes) {
    vf f[D];
    vf column;
    for (int i = 0; i < kLanes; ++i) column[i] = static_cast<float>(x + at + i);
    f[0] = column * job.position_scale[0];
    f[1] = splat(static_cast<float>(y) * job.position_scale[1]);
    for (int c = 0; c < D - 2; ++c) f[2 + c] = load(color[c] + at) * job.color_scale[c];

    vf e[D + 1], whole[D + 1];
    vi rank[D + 1];
    vf sum = vf{};
    for (int i = D; i > 0; --i) {
      e[i] = sum - static_cast<float>(i) * f[i - 1];
      sum = sum + f[i - 1];
    }
    e[0] = sum;
    vf excess = vf{};
    for (int i = 0; i <= D; ++i) {
      vi unused;
      whole[i] = round_near(e[i] * kDown, &unused);
      excess = excess + whole[i];
      e[i] = e[i] - whole[i] * kUp;
      rank[i] = vi{};
    }
    for (int i = 0; i < D; ++i) {
      for (int j = i + 1; j <= D; ++j) {
        const vi less = e[i] < e[j];
        rank[i] -= less;
        rank[j] += less + 1;
      }
    }
    const vi shift = __builtin_convertvector(excess, vi);
    for (int i = 0; i <= D; ++i) {
      rank[i] += shift;
      const vi below = rank[i] < 0, above = rank[i] > D;
      rank[i] += (below & (D + 1)) - (above & (D + 1));
      const vf turn = to_float(above - below);  // +1 below, -1 above
      whole[i] = whole[i] + turn;
      e[i] = e[i] - turn * kUp;
    }
    vi code = vi{};
    for (int i = 0; i <= D; ++i) code |= rank[i] << (3 * i);
    store_i(order + at, code);
    vi word[2] = {vi{}, vi{}};
    for (int i = 0; i < D; ++i) {
      const vi t = __builtin_convertvector(whole[i] - whole[D], vi) - job.low[i];
      word[i / 3] += t << job.shift[i];
    }
    store_i(low_word + at, word[0]);
    store_i(high_word + at, word[1]);
    for (int end = D; end > 0; --end) {  // descending
      for (int i = 0; i < end; ++i) {
        const vf larger = vmax(e[i], e[i + 1]);
        e[i + 1] = vmin(e[i], e[i + 1]);
        e[i] = larger;
      }
    }
    store(weights + at, (e[D] - e[0]) * kDown + 1.0f);
    for (int k = 1; k <= D; ++k) store(weights + k * kCrfBlock + at, (e[D - k] - e[D - k + 1]) * kDown);
  }
}

constexpr uint64_t kNoVertex = ~uint64_t{0};

inline uint64_t scramble(uint64_t key) {
  key *= 0x9e3779b97f4a7c15u;
  return key ^ (key >> 32);
}

inline void clear_table(const CrfSlots& slots, uint64_t capacity) {
  std::memset(slots.table_key, 0xff, capacity * sizeof(uint64_t));
}

inline uint16_t slot_of(CrfSlots& slots, uint64_t* capacity, uint64_t key) {
  uint64_t at = scramble(key) & (*capacity - 1);
  while (slots.table_key[at] != kNoVertex) {
    if (slots.table_key[at] == key) return slots.table_slot[at];
    at = (at + 1) & (*capacity - 1);
  }
  const int64_t slot = slots.n++;
  slots.key[slot] = key;
  slots.table_key[at] = key;
  slots.table_slot[at] = static_cast<uint16_t>(slot);
  if (static_cast<uint64_t>(slots.n) * 2 > *capacity && *capacity < static_cast<uint64_t>(kCrfMaxTable)) {
    *capacity *= 2;
    clear_table(slots, *capacity);
    for (int64_t i = 0; i < slots.n; ++i) {
      at = scramble(slots.key[i]) & (*capacity - 1);
      while (slots.table_key[at] != kNoVertex) at = (at + 1) & (*capacity - 1);
      slots.table_key[at] = slots.key[i];
      slots.table_slot[at] = static_cast<uint16_t>(i);
    }
  }
  return static_cast<uint16_t>(slot);
}

template <int D>
void tile_simplices_of(const CrfSimplexJob& job, const CrfTile& tile, CrfSlots& slots, uint16_t* ids, float* weights) {
  int32_t low[kCrfBlock], high[kCrfBlock], order[kCrfBlock];
  uint64_t capacity = 1024;
  slots.n = 0;
  clear_table(slots, capacity);
  std::memset(slots.recent_key, 0xff, kCrfRecent * sizeof(uint64_t));
  for (int64_t y = 0; y < tile.height; ++y) {
    for (int64_t x = 0; x < tile.width; x += kCrfBlock, ids += (D + 1) * kCrfBlock, weights += (D + 1) * kCrfBlock) {
      const int n = static_cast<int>(tile.width - x < kCrfBlock ? tile.width - x : kCrfBlock);
      find_simplices<D>(job, tile.y0 + y, tile.x0 + x, n, weights, low, high, order);
      for (int i = 0; i < n; ++i) {
        uint64_t key = static_cast<uint32_t>(low[i]) | static_cast<uint64_t>(static_cast<uint32_t>(high[i])) << 32;
        const uint32_t ranks = static_cast<uint32_t>(order[i]);
        const uint64_t at = scramble(key + ranks * 0xc2b2ae3d27d4eb4fu) & (kCrfRecent - 1);
        uint16_t* const recent = slots.recent_slots + at * 8;
        if (slots.recent_key[at] != key || slots.recent_order[at] != ranks) {
          slots.recent_key[at] = key;
          slots.recent_order[at] = ranks;
          int element[D + 1];  // by falling rank
          for (int e = 0; e <= D; ++e) element[D - (ranks >> (3 * e) & 7)] = e;
          for (int k = 0; k <= D; ++k) {
            recent[k] = slot_of(slots, &capacity, key);
            key -= job.step[D == 5 ? element[k] : element[k] == D ? 5 : element[k]];
          }
        }
        for (int k = 0; k <= D; ++k) ids[k * kCrfBlock + i] = recent[k];
      }
      for (int i = n; i < kCrfBlock; ++i) {
        for (int k = 0; k <= D; ++k) {
          ids[k * kCrfBlock + i] = 0;
          weights[k * kCrfBlock + i] = 0.0f;
        }
      }
    }
  }
}

void crf_tile_simplices(const CrfSimplexJob& job, const CrfTile& tile, CrfSlots& slots, uint16_t* ids,
                        float* weights) {
  if (job.channels == 3) {
    tile_simplices_of<5>(job, tile, slots, ids, weights);
  } else {
    tile_simplices_of<3>(job, tile, slots, ids, weights);
  }
}
