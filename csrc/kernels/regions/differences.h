// Where two rows differ: the boundaries of regions are few, so most blocks of pixels are passed over whole.
#pragma once
#include <cstdint>
#include <cstring>

namespace alseg {

// Calls visit(i), in ascending order, for every i in [0, n) with a[i] != b[i].
template <typename T, typename Visit>
inline void for_each_difference(const T* a, const T* b, int64_t n, const Visit& visit) {
  static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the lowest byte of a word is its first pixel");
  constexpr int kWords = 4, kBlock = 8 * kWords;
  int64_t i = 0;
  for (; i + kBlock <= n; i += kBlock) {
    uint8_t differs[kBlock];
    for (int k = 0; k < kBlock; ++k) differs[k] = a[i + k] != b[i + k];
    uint64_t words[kWords];
    std::memcpy(words, differs, sizeof words);
    if ((words[0] | words[1] | words[2] | words[3]) == 0) continue;
    for (int w = 0; w < kWords; ++w)
      for (uint64_t bits = words[w]; bits; bits &= bits - 1) visit(i + 8 * w + __builtin_ctzll(bits) / 8);
  }
  for (; i < n; ++i)
    if (a[i] != b[i]) visit(i);
}

}  // namespace alseg
