// Plain descriptions of the dense CRF's work. No Python, no STL.
#pragma once
#include <cstdint>

namespace alseg {

constexpr int kCrfBlock = 16;      // pixels whose ids and weights lie together, whatever the instruction set
constexpr int kCrfTile = 32;       // pixels a side of a tile; a multiple of kCrfBlock
constexpr int kCrfTaps = 3;        // grid nodes a pixel touches along an axis (quadratic B-spline)
constexpr int kCrfMaxRadius = 5;   // of the blur on the grid

// A rectangle of pixels with its own list of the vertices it touches ("slots"). Tiles are cut by shape alone.
struct CrfTile {
  int32_t x0, y0, width, height;
  int64_t first_block;               // blocks of a tile: rows of ceil(width / kCrfBlock)
  int64_t first_slot, n_slots;       // of the permutohedral lattice
  int64_t first_node;                // of the grid: slots of rows of node_columns
  int32_t node_x, node_y, node_columns, node_rows;
};

inline int64_t blocks_per_row(const CrfTile& tile) { return (tile.width + kCrfBlock - 1) / kCrfBlock; }

// Where the pixels of an image lie in the permutohedral lattice of (x, y, channels): one tile at a time.
struct CrfSimplexJob {
  const uint8_t* image;              // [H, W, channels]
  int64_t width;
  int32_t channels;                  // 1 or 3
  float position_scale[2], color_scale[3];
  // A vertex is the integers t[0..d), packed as sum (t[i] - low[i]) << shift[i] into two words of 32 bits.
  int32_t low[5];
  int32_t shift[5];                  // within the word: 0..2 are in the lower one
  uint64_t step[6];                  // what one step along a direction of the lattice adds
};

// Slots of one tile: open addressing from a vertex to its number; grows by doubling.
constexpr int64_t kCrfMaxSlots = 6 * kCrfTile * kCrfTile;
constexpr int64_t kCrfMaxTable = 16384;
constexpr int64_t kCrfRecent = 512;  // simplices remembered
struct CrfSlots {
  uint64_t* table_key;               // [kCrfMaxTable]
  uint16_t* table_slot;              // [kCrfMaxTable]
  uint64_t* key;                     // [kCrfMaxSlots] vertex of each slot, by first appearance
  uint64_t* recent_key;              // [kCrfRecent]
  uint32_t* recent_order;            // [kCrfRecent]
  uint16_t* recent_slots;            // [kCrfRecent, 8]
  int64_t n;
};
static_assert(kCrfMaxTable > kCrfMaxSlots * 5 / 4, "a table is never full");

// Which vertices and nodes the pixels touch, and with which weights.
struct CrfView {
  int64_t height, width, n_tiles;
  const CrfTile* tiles;
  int32_t corners;                   // vertices a pixel touches: 6 (colour), 4 (grey), 0 (no lattice)
  const uint16_t* slots;             // [blocks, corners, kCrfBlock] numbers inside the tile
  const float* weights;              // the same shape, normalisation and weight of the term included
  const int32_t* vertex_of_slot;
  bool grid;
  int64_t grid_width;                // nodes
  const int32_t *column_node, *row_node;      // [W], [H] first of the kCrfTaps nodes
  const float *column_weight, *row_weight;    // [W, kCrfTaps], [H, kCrfTaps]
};

enum class CrfUnary : int { probs = 0, logits = 1, labels = 2 };

// Bits of the status.
constexpr unsigned kCrfNotFinite = 1u, kCrfNegative = 2u, kCrfNotNormalised = 4u, kCrfBadLabel = 8u;

// One sweep over a tile: slice the filtered marginals, combine with the unary, splat for the next filtering.
struct CrfSweep {
  CrfView view;
  int64_t n_classes, pitch;          // pitch: floats of a vertex, a multiple of the level's lanes
  bool first, slice, splat, last;    // first: the unary is read from its source and left in `out`
  CrfUnary unary;
  const void* source;                // float [C, H, W], or int32 [H, W]
  const float* confidence;           // [H, W] or null
  float common_confidence;           // where there is no map
  int32_t unsure;                    // label that says nothing, or -1
  float clip, tolerance;
  const int32_t* clamp;              // [H, W] ids, -1 is free; or null
  const float *lattice, *nodes;      // filtered values [vertices, pitch]
  float *lattice_slots, *node_slots; // what the tiles splat [slots, pitch]
  float* out;                        // [C, H, W]
};

}  // namespace alseg
