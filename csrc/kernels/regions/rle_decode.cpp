#include <algorithm>

#include "kernels/regions/rle.h"

namespace alseg {
namespace {

// Calls fill(start, end) for every run of 1 in column-major order.
template <typename Fill>
RleFault for_each_run(const std::string& text, int64_t pixels, const Fill& fill) {
  constexpr int kMaxShift = 40;  // more groups than any count of the format has
  int64_t counts[2] = {0, 0};    // one and two back
  int64_t position = 0, index = 0;
  for (size_t at = 0; at < text.size(); ++index) {
    int64_t value = 0;
    for (int shift = 0;; shift += 5) {
      if (at == text.size()) return RleFault::truncated;
      if (shift > kMaxShift) return RleFault::count;
      const int group = static_cast<unsigned char>(text[at++]) - 48;
      if (group < 0 || group > 63) return RleFault::character;
      value |= static_cast<int64_t>(group & 0x1f) << shift;
      if (group & 0x20) continue;
      if (group & 0x10) value -= INT64_C(1) << (shift + 5);
      break;
    }
    if (index > 2) value += counts[1];
    if (value < 0) return RleFault::count;
    if (value > pixels - position) return RleFault::total;
    if (index % 2 == 1 && value > 0) fill(position, position + value);
    position += value;
    counts[1] = counts[0];
    counts[0] = value;
  }
  return position == pixels ? RleFault::none : RleFault::total;
}

// Calls span(first, n) for the stretches of row-major memory that pixels [start, end) of the column-major order are.
template <typename Span>
void for_each_span(int64_t start, int64_t end, int64_t height, int64_t pitch, const Span& span) {
  // Pixels that lie in one column, or in two with less than a column between them.
  const auto column = [&](int64_t from, int64_t to) {
    for (int64_t x = from / height, y = from % height; from < to; ++from) {
      span(y * pitch + x, 1);
      if (++y == height) {
        y = 0;
        ++x;
      }
    }
  };
  const int64_t first = (start + height - 1) / height, last = end / height;  // whole columns
  if (first >= last) return column(start, end);
  column(start, first * height);
  for (int64_t y = 0; y < height; ++y) span(y * pitch + first, last - first);
  column(last * height, end);
}

}  // namespace

RleFault decode_rle(const std::string& text, int64_t height, int64_t width, uint8_t value, int64_t pitch,
                    uint8_t* out) {
  return for_each_run(text, height * width, [&](int64_t start, int64_t end) {
    for_each_span(start, end, height, pitch, [&](int64_t first, int64_t n) { std::fill_n(out + first, n, value); });
  });
}

RleFault decode_rle(const std::string& text, int64_t height, int64_t width, int32_t value, int32_t empty,
                    int64_t pitch, int32_t* out, bool* overlap) {
  return for_each_run(text, height * width, [&](int64_t start, int64_t end) {
    for_each_span(start, end, height, pitch, [&](int64_t first, int64_t n) {
      for (int64_t i = first; i < first + n; ++i) {
        *overlap |= out[i] != empty;
        out[i] = value;
      }
    });
  });
}

}  // namespace alseg
