// COCO's compressed run-length strings: masks as alternating counts of 0 and 1 in column-major order.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace alseg {

// The counts of the format are 32-bit.
constexpr int64_t kMaxRlePixels = INT64_C(0xffffffff);

struct RleStrings {
  std::vector<char> text;      // all strings, one after another
  std::vector<int64_t> begin;  // [S + 1] where each begins
};

// One string for each id 0..n_segments - 1 of a row-major map, in one walk; -1 belongs to none. False: an id is out
// of range. The map has at most kMaxRlePixels pixels.
bool encode_rle(const int32_t* ids, int64_t height, int64_t width, int64_t n_segments, RleStrings* out);

// The string of the pixels that are 1 of a map of 0 and 1.
void encode_rle(const uint8_t* mask, int64_t height, int64_t width, RleStrings* out);

enum class RleFault : int { none, character, truncated, count, total };

// Writes `value` where the mask is 1, into rows that are `pitch` apart. With `overlap`, sets it where a pixel to be
// written is not `empty`.
RleFault decode_rle(const std::string& text, int64_t height, int64_t width, uint8_t value, int64_t pitch,
                    uint8_t* out);
RleFault decode_rle(const std::string& text, int64_t height, int64_t width, int32_t value, int32_t empty,
                    int64_t pitch, int32_t* out, bool* overlap);

}  // namespace alseg
