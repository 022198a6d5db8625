#include <algorithm>
#include <type_traits>

#include "kernels/regions/differences.h"
#include "kernels/regions/rle.h"

namespace alseg {
namespace {

// A pixel whose id is not that of the pixel above it.
struct Change {
  uint32_t x, y;
  int32_t id;
};

struct ColumnChange {
  uint32_t y;
  int32_t id;
};

// Pixels [start, end) of the column-major order.
struct Run {
  uint32_t start, end;
  int32_t id;
};

// Kept between calls up to a limit: fresh pages cost more than the walk.
struct Scratch {
  std::vector<Change> changes;
  std::vector<ColumnChange> sorted;
  std::vector<int64_t> column;      // [W + 1] first change of each column in `sorted`
  std::vector<Run> runs, by_region;
  std::vector<int64_t> last;        // [S] latest run of each region, or -1
  std::vector<int64_t> first_run;   // [S + 1]

  void shrink() {
    constexpr size_t kKeepAtMost = size_t{1} << 19;
    if (changes.capacity() + runs.capacity() > kKeepAtMost) *this = Scratch();
  }
};

inline int32_t id_of(int32_t id) { return id; }
inline int32_t id_of(uint8_t inside) { return static_cast<int32_t>(inside) - 1; }

// Rows are walked in the order of memory; a counting sort then puts the changes into the order of columns.
template <typename Pixel>
bool find_changes(const Pixel* map, int64_t height, int64_t width, int64_t n_segments, Scratch& s) {
  s.changes.clear();
  s.column.assign(static_cast<size_t>(width + 1), 0);
  bool ok = true;
  const auto in_range = [&](int32_t id) { return id >= -1 && id < n_segments; };
  for (int64_t x = 0; x < width; ++x) ok &= in_range(id_of(map[x]));
  for (int64_t y = 1; y < height; ++y) {
    const Pixel* const row = map + y * width;
    for_each_difference(row, row - width, width, [&](int64_t x) {
      const int32_t id = id_of(row[x]);
      ok &= in_range(id);
      ++s.column[static_cast<size_t>(x)];
      s.changes.push_back({static_cast<uint32_t>(x), static_cast<uint32_t>(y), id});
    });
  }
  int64_t next = 0;
  for (int64_t& at : s.column) {
    const int64_t count = at;
    at = next;
    next += count;
  }
  s.sorted.resize(s.changes.size());
  for (const Change& c : s.changes) s.sorted[static_cast<size_t>(s.column[c.x]++)] = {c.y, c.id};
  // Each entry has moved to the end of its column, which is where the next one begins.
  std::copy_backward(s.column.begin(), s.column.end() - 1, s.column.end());
  s.column[0] = 0;
  return ok;
}

// Runs in column-major order; one that ends a column and goes on in the next stays one.
template <typename Pixel>
void find_runs(const Pixel* map, int64_t height, int64_t width, int64_t n_segments, Scratch& s) {
  s.runs.clear();
  s.last.assign(static_cast<size_t>(n_segments), -1);
  s.first_run.assign(static_cast<size_t>(n_segments + 1), 0);
  const auto add = [&](int32_t id, int64_t start, int64_t end) {
    if (id < 0) return;
    int64_t& last = s.last[static_cast<size_t>(id)];
    if (last >= 0 && s.runs[static_cast<size_t>(last)].end == start) {
      s.runs[static_cast<size_t>(last)].end = static_cast<uint32_t>(end);
      return;
    }
    last = static_cast<int64_t>(s.runs.size());
    ++s.first_run[static_cast<size_t>(id)];
    s.runs.push_back({static_cast<uint32_t>(start), static_cast<uint32_t>(end), id});
  };
  for (int64_t x = 0; x < width; ++x) {
    const int64_t top = x * height;
    int32_t id = id_of(map[x]);
    int64_t start = top;
    for (int64_t i = s.column[static_cast<size_t>(x)]; i < s.column[static_cast<size_t>(x + 1)]; ++i) {
      const ColumnChange& change = s.sorted[static_cast<size_t>(i)];
      add(id, start, top + change.y);
      id = change.id;
      start = top + change.y;
    }
    add(id, start, top + height);
  }
  int64_t next = 0;
  for (int64_t& at : s.first_run) {
    const int64_t count = at;
    at = next;
    next += count;
  }
  s.by_region.resize(s.runs.size());
  for (const Run& run : s.runs) s.by_region[static_cast<size_t>(s.first_run[static_cast<size_t>(run.id)]++)] = run;
  std::copy_backward(s.first_run.begin(), s.first_run.end() - 1, s.first_run.end());
  s.first_run[0] = 0;
}

// Groups of 5 bits, lowest first, each + 48; 32 says that another follows, 16 of the last one is the sign.
inline char* put_number(int64_t value, char* to) {
  for (;;) {
    int64_t group = value & 0x1f;
    value >>= 5;
    const bool more = group & 0x10 ? value != -1 : value != 0;
    if (more) group |= 0x20;
    *to++ = static_cast<char>(group + 48);
    if (!more) return to;
  }
}

constexpr size_t kMaxGroups = 7;  // a difference of two 32-bit counts

void put_strings(int64_t pixels, int64_t n_segments, const Scratch& s, RleStrings* out) {
  out->begin.assign(static_cast<size_t>(n_segments + 1), 0);
  out->text.resize(kMaxGroups * (2 * s.by_region.size() + static_cast<size_t>(n_segments)));
  char* to = out->text.data();
  for (int64_t id = 0; id < n_segments; ++id) {
    int64_t before = 0, previous = 0, end = 0, index = 0;  // counts two and one back
    // From the fourth on, a count is written as its difference from the count two before.
    const auto put = [&](int64_t count) {
      to = put_number(index > 2 ? count - before : count, to);
      before = previous;
      previous = count;
      ++index;
    };
    for (int64_t i = s.first_run[static_cast<size_t>(id)]; i < s.first_run[static_cast<size_t>(id + 1)]; ++i) {
      const Run& run = s.by_region[static_cast<size_t>(i)];
      put(run.start - end);
      put(static_cast<int64_t>(run.end) - run.start);
      end = run.end;
    }
    if (end < pixels || index == 0) put(pixels - end);
    out->begin[static_cast<size_t>(id + 1)] = to - out->text.data();
  }
}

template <typename Pixel>
bool encode(const Pixel* map, int64_t height, int64_t width, int64_t n_segments, RleStrings* out) {
  thread_local Scratch scratch;
  if (!find_changes(map, height, width, n_segments, scratch)) return false;
  find_runs(map, height, width, n_segments, scratch);
  put_strings(height * width, n_segments, scratch, out);
  scratch.shrink();
  return true;
}

}  // namespace

bool encode_rle(const int32_t* ids, int64_t height, int64_t width, int64_t n_segments, RleStrings* out) {
  return encode(ids, height, width, n_segments, out);
}

void encode_rle(const uint8_t* mask, int64_t height, int64_t width, RleStrings* out) {
  encode(mask, height, width, 1, out);
}

}  // namespace alseg
