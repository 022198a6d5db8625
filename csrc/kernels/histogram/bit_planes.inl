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
  vq bits[7][kPixelGroup];
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

// products[i] = every product of kBits bits, each as it is or inverted: bit j of i says which, the last bit first.
template <int kBits>
inline void products_of(const vq (*bits)[kPixelGroup], vq (*products)[kPixelGroup]) {
  for (int64_t w = 0; w < kPixelGroup; ++w) {
    vq made[1 << kBits];
    made[0] = ~bits[0][w];
    made[1] = bits[0][w];
#pragma GCC unroll 8
    for (int bit = 1; bit < kBits; ++bit) {
      const vq set = bits[bit][w];
#pragma GCC unroll 32
      for (int i = (1 << bit) - 1; i >= 0; --i) {
        made[2 * i + 1] = made[i] & set;
        made[2 * i] = made[i] & ~set;
      }
    }
    for (int i = 0; i < 1 << kBits; ++i) products[i][w] = made[i];
  }
}

// The n_bits highest bits of each byte as planes.
inline void lay_bits(const uint8_t* top, int64_t n_bits, vq (*bits)[kPixelGroup]) {
  for (int64_t word = 0; word < kPixelGroup * kWordPixels / 64; ++word) {
    ByteBits bytes(top + 64 * word);
    for (int64_t bit = 0; bit < n_bits; ++bit) {
      const uint64_t next = bytes.next();
      std::memcpy(reinterpret_cast<char*>(bits[bit]) + 8 * word, &next, 8);
    }
  }
}

// kPixelGroup vectors of pixels of one plane, whose bytes are bins shifted up to the top of the byte.
template <int kHighBits>
inline void count_sliced(const uint8_t* top, int64_t bins, SlicedBin* out, SlicedScratch* scratch) {
  lay_bits(top, kHighBits + kLowBits, scratch->bits);
  products_of<kHighBits>(scratch->bits, scratch->high);
  products_of<kLowBits>(scratch->bits + kHighBits, scratch->low);
  for (int64_t bin = 0; bin < bins; ++bin) {
    const vq* const high = scratch->high[bin >> kLowBits];
    const vq* const low = scratch->low[bin & ((1 << kLowBits) - 1)];
    vq* const carry = out[bin].carry;
    vq one = carry[0], two = carry[1], four = carry[2], eight = carry[3];
    vq eights[2];
    for (int half = 0; half < 2; ++half) {
      vq fours[2];
      for (int quarter = 0; quarter < 2; ++quarter) {
        vq twos[2];
        for (int pair = 0; pair < 2; ++pair) {
          const int w = 8 * half + 4 * quarter + 2 * pair;
          twos[pair] = add_carry(&one, high[w] & low[w], high[w + 1] & low[w + 1]);
        }
        fours[quarter] = add_carry(&two, twos[0], twos[1]);
      }
      eights[half] = add_carry(&four, fours[0], fours[1]);
    }
    out[bin].sixteens += static_cast<uint64_t>(set_bits(add_carry(&eight, eights[0], eights[1])));
    carry[0] = one;
    carry[1] = two;
    carry[2] = four;
    carry[3] = eight;
  }
}

inline void count_group(const uint8_t* top, int64_t bins, int64_t n_bits, SlicedBin* out, SlicedScratch* scratch) {
  switch (n_bits - kLowBits) {
    case 1: return count_sliced<1>(top, bins, out, scratch);
    case 2: return count_sliced<2>(top, bins, out, scratch);
    case 3: return count_sliced<3>(top, bins, out, scratch);
    case 4: return count_sliced<4>(top, bins, out, scratch);
    default: return count_sliced<5>(top, bins, out, scratch);
  }
}

inline uint64_t sliced_total(const SlicedBin& bin) {
  uint64_t total = 16 * bin.sixteens;
  for (int64_t i = 0; i < kCarries; ++i) total += static_cast<uint64_t>(set_bits(bin.carry[i])) << i;
  return total;
}
