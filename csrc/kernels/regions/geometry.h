// What each region of a label map is like: extent, boundary, neighbours, mean colour. All of it by runs of equal ids
// and by the places where neighbouring rows differ; integers only, so that any order of bands gives the same.
#pragma once
#include <cstdint>
#include <vector>

namespace alseg {

// Ids 0..n_segments - 1, and -1: no region.
struct RegionMap {
  const int32_t* ids;  // [H, W]
  int64_t height, width, n_segments;
  bool has(int32_t id) const { return static_cast<uint32_t>(id) < static_cast<uint64_t>(n_segments); }
};

struct RegionShape {
  int64_t area = 0;
  int64_t perimeter = 0;    // pixel edges to other regions, to none, and to the border of the image
  int64_t label_edges = 0;  // pixel edges between different labels within the region
  int32_t left = INT32_MAX, top = INT32_MAX, right = 0, bottom = 0;  // right and bottom are exclusive
  void add(const RegionShape& other);
};

struct ColorSums {
  uint64_t sum[3] = {0, 0, 0};
  uint64_t pixels = 0;
};

// Pixel edges between two regions a < b.
struct Border {
  int32_t a, b;
  int64_t length;
};

// Rows y0..y1 - 1, and their edges to the row above each. labels [H, W] of 1, 2, 4 or 8 bytes, or null. False: an id
// of these rows is out of range.
bool shape_rows(const RegionMap& map, const void* labels, int label_bytes, int64_t y0, int64_t y1, RegionShape* shapes);

// image [H, W, channels], 1 or 3 of them; of one, only sum[0].
bool color_rows(const RegionMap& map, const uint8_t* image, int channels, int64_t y0, int64_t y1, ColorSums* sums);

// Appends the borders of rows y0..y1 - 1, in no order.
bool border_rows(const RegionMap& map, int64_t y0, int64_t y1, std::vector<Border>* borders);

// Sorts by (a, b) and adds up what stands twice.
void merge_borders(std::vector<Border>* borders);

}  // namespace alseg
