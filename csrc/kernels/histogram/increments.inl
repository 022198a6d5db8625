// Counters in memory. Consecutive pixels go to different copies of them: an increment that waits for the one before,
// as like pixels side by side would make it, takes several times as long.

constexpr int64_t kByteCopies = 2;

// counts [kByteCopies, 3, 256] of the values of three planes.
inline void count_bytes(const uint8_t* planes, int64_t n, uint32_t* counts) {
  uint32_t* const other = counts + 3 * 256;
  for (int64_t c = 0; c < 3; ++c) {
    const uint8_t* const plane = planes + c * kHistogramPitch;
    uint32_t *const a = counts + c * 256, *const b = other + c * 256;
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) {
      uint64_t v;
      std::memcpy(&v, plane + i, 8);
      for (int k = 0; k < 8; k += 2) {
        ++a[v >> 8 * k & 255];
        ++b[v >> (8 * k + 8) & 255];
      }
    }
    for (; i < n; ++i) ++a[plane[i]];
  }
}

// The joint bin of every pixel.
inline void joint_bins(const uint8_t* planes, int64_t n, int64_t bins, uint16_t* index) {
  const uint8_t *const x = planes, *const y = planes + kHistogramPitch, *const z = planes + 2 * kHistogramPitch;
  const uint16_t per = static_cast<uint16_t>(bins);
  for (int64_t i = 0; i < n; ++i) {
    const uint16_t first = static_cast<uint16_t>(static_cast<uint16_t>(x[i] * per) >> 8);
    const uint16_t second = static_cast<uint16_t>(static_cast<uint16_t>(y[i] * per) >> 8);
    const uint16_t third = static_cast<uint16_t>(static_cast<uint16_t>(z[i] * per) >> 8);
    index[i] = static_cast<uint16_t>(static_cast<uint16_t>(first * per + second) * per + third);
  }
}

// counts [kCopies, dim].
template <int kCopies>
inline void count_joint(const uint16_t* index, int64_t n, int64_t dim, uint32_t* counts) {
  int64_t i = 0;
  for (; i + 8 <= n; i += 8)
    for (int k = 0; k < 8; ++k) ++counts[k % kCopies * dim + index[i + k]];
  for (; i < n; ++i) ++counts[index[i]];
}
