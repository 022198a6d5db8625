// Counters without increments: the bits of the bins of many pixels are laid out as planes, a bin is a product of
// these, and the set bits of all its products are added by carry-save adders (Harley-Seal).

constexpr int64_t kWordPixels = 64 * static_cast<int64_t>(sizeof(vq) / 8);  // pixels of a vector of bits
constexpr int64_t kPixelGroup = 16;                                               // vectors that one carry chain adds
constexpr int64_t kCarries = 4;                                              // of weight 1, 2, 4, 8
constexpr int64_t kLowBits = 2;

// Memory of one channel: the carries of each bin, and how many sixteens it had.
struct SlicedBin {
  vq carry[kCarries];
  uint64_t sixteens;
};

struct SlicedScratch {
  vq bits[8][kPixelGroup];
  vq high[32][kPixelGroup];
  vq low[1 << kLowBits][kPixelGroup];
};

inline int64_t set_bits(vq v) {
  uint64_t words[sizeof(vq) / 8];
  std::memcpy(words, &v, sizeof v);
  int64_t n = 0;
  for (const uint64_t word : words) n += __builtin_popcountll(word);
  return n;
}

inline vq add_carry(vq* sum, vq a, vq b) {
  const vq carry = majority(*sum, a, b);
  *sum = odd(*sum, a, b);
  return carry;
}

// products[i] = every product of the `n` bits, each as it is or inverted: bit j of i says which, the last bit first.
inline void products_of(const vq (*bits)[kPixelGroup], int64_t n, vq (*products)[kPixelGroup]) {
  for (int64_t w = 0; w < kPixelGroup; ++w) {
    products[0][w] = ~vq{};
    for (int64_t bit = 0, have = 1; bit < n; ++bit, have *= 2) {
      for (int64_t i = have - 1; i >= 0; --i) {
        const vq whole = products[i][w], set = whole & bits[bit][w];
        products[2 * i + 1][w] = set;
        products[2 * i][w] = whole & ~bits[bit][w];
      }
    }
  }
}

// kPixelGroup vectors of pixels of one plane, whose bytes are bins shifted up to the top of the byte.
inline void count_sliced(const uint8_t* top, int64_t bins, int64_t n_bits, SlicedBin* out, SlicedScratch* scratch) {
  uint8_t moved[64];
  for (int64_t word = 0; word < kPixelGroup * kWordPixels / 64; ++word) {
    std::memcpy(moved, top + 64 * word, sizeof moved);
    for (int64_t bit = 0; bit < n_bits; ++bit) {
      const uint64_t bits = top_bits(moved);
      std::memcpy(reinterpret_cast<char*>(scratch->bits[bit]) + 8 * word, &bits, 8);
      for (uint8_t& byte : moved) byte = static_cast<uint8_t>(byte + byte);
    }
  }
  const int64_t n_high = n_bits - kLowBits;
  products_of(scratch->bits, n_high, scratch->high);
  products_of(scratch->bits + n_high, kLowBits, scratch->low);
  for (int64_t bin = 0; bin < bins; ++bin) {
    const vq* const high = scratch->high[bin >> kLowBits];
    const vq* const low = scratch->low[bin & ((1 << kLowBits) - 1)];
    vq carry[kCarries];
    std::memcpy(carry, out[bin].carry, sizeof carry);
    vq eights[2];
    for (int half = 0; half < 2; ++half) {
      vq fours[2];
      for (int quarter = 0; quarter < 2; ++quarter) {
        vq twos[2];
        for (int pair = 0; pair < 2; ++pair) {
          const int w = 8 * half + 4 * quarter + 2 * pair;
          twos[pair] = add_carry(&carry[0], high[w] & low[w], high[w + 1] & low[w + 1]);
        }
        fours[quarter] = add_carry(&carry[1], twos[0], twos[1]);
      }
      eights[half] = add_carry(&carry[2], fours[0], fours[1]);
    }
    out[bin].sixteens += static_cast<uint64_t>(set_bits(add_carry(&carry[3], eights[0], eights[1])));
    std::memcpy(out[bin].carry, carry, sizeof carry);
  }
}

inline uint64_t sliced_total(const SlicedBin& bin) {
  uint64_t total = 16 * bin.sixteens;
  for (int64_t i = 0; i < kCarries; ++i) total += static_cast<uint64_t>(set_bits(bin.carry[i])) << i;
  return total;
}
