#include "kernels/regions/runs.h"

namespace alseg {
namespace {

// Sums of a few thousand bytes fit 32 bits, in which the compiler adds up several at once.
constexpr int64_t kPiece = 4096;

template <int kChannels>
bool color_rows_of(const RegionMap& map, const uint8_t* image, int64_t y0, int64_t y1, ColorSums* sums) {
  bool ok = true;
  for (int64_t y = y0; y < y1; ++y) {
    const uint8_t* const row = image + y * map.width * kChannels;
    ok &= for_each_run(map, y, [&](int32_t id, int64_t first, int64_t end) {
      ColorSums& s = sums[id];
      s.pixels += static_cast<uint64_t>(end - first);
      while (first < end) {
        const int64_t stop = end - first > kPiece ? first + kPiece : end;
        uint32_t sum[3] = {0, 0, 0};
        for (int64_t x = first; x < stop; ++x)
          for (int c = 0; c < kChannels; ++c) sum[c] += row[x * kChannels + c];
        for (int c = 0; c < kChannels; ++c) s.sum[c] += sum[c];
        first = stop;
      }
    });
  }
  return ok;
}

}  // namespace

bool color_rows(const RegionMap& map, const uint8_t* image, int channels, int64_t y0, int64_t y1, ColorSums* sums) {
  return channels == 3 ? color_rows_of<3>(map, image, y0, y1, sums) : color_rows_of<1>(map, image, y0, y1, sums);
}

}  // namespace alseg
