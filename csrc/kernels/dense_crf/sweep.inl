// One sweep of the mean field over a tile. For each block of pixels: read what the filters give (slice), multiply the
// exponential of it with the unary and normalise, and hand the new marginals to the filters (splat). The marginals
// themselves are never stored but in the last sweep.

inline void write_planes(const CrfSweep& job, const CrfPixels& block) {
  const int64_t plane = job.view.height * job.view.width;
  for (int64_t c = 0; c < job.n_classes; ++c) {
    const float* const from = block.planes + c * kCrfBlock;
    float* const to = job.out + c * plane + block.at;
    if (block.n == kCrfBlock) {
      std::memcpy(to, from, kCrfBlock * sizeof(float));
    } else {
      std::memcpy(to, from, static_cast<size_t>(block.n) * sizeof(float));
    }
  }
}

// planes: messages, in units of ln 2 -> marginals: unary times 2^message, normalised.
inline void update_marginals(const CrfSweep& job, const CrfPixels& block) {
  const int64_t plane = job.view.height * job.view.width;
  const float* const unary = job.out + block.at;
  float* const z = block.planes;
  for (int at = 0; at < kCrfBlock; at += kLanes) {
    vf largest = load(z + at);
    for (int64_t c = 1; c < job.n_classes; ++c) largest = vmax(largest, load(z + c * kCrfBlock + at));
    vf sum = vf{};
    const bool whole = at + kLanes <= block.n;
    for (int64_t c = 0; c < job.n_classes; ++c) {
      vf p;
      if (whole) {
        p = load(unary + c * plane + at);
      } else {
        p = splat(1.0f);
        for (int i = 0; at + i < block.n; ++i) p[i] = unary[c * plane + at + i];
      }
      const vf e = p * exp2_of(load(z + c * kCrfBlock + at) - largest);
      store(z + c * kCrfBlock + at, e);
      sum = sum + e;
    }
    const vf scale = 1.0f / sum;
    for (int64_t c = 0; c < job.n_classes; ++c) store(z + c * kCrfBlock + at, load(z + c * kCrfBlock + at) * scale);
  }
}

inline void apply_clamp(const CrfSweep& job, const CrfPixels& block) {
  for (int i = 0; i < block.n; ++i) {
    const int32_t fixed = job.clamp[block.at + i];
    if (fixed < 0) continue;
    for (int64_t c = 0; c < job.n_classes; ++c) block.planes[c * kCrfBlock + i] = c == fixed ? 1.0f : 0.0f;
  }
}

// The place of one block among the vertices and nodes.
struct CrfTouch {
  const uint16_t* slots;          // [corners, kCrfBlock]
  const float* weights;
  const int32_t* node;            // [kCrfBlock] first node, from the tile's first
  const float* node_weight;       // [kCrfBlock, kCrfTaps]
  int32_t first_node;
};

// pixels[i] = weighted values of the vertices and of the row of nodes; V vectors of classes, which are all there are
// where ALL says so (the pitch is then known to the compiler).
template <int V, bool ALL, int D1, bool GRID>
inline void slice_block(const CrfTouch& touch, int n, const float* values, const float* row, int64_t any_pitch,
                        float* pixels) {
  const int64_t pitch = ALL ? V * kLanes : any_pitch;
  for (int i = 0; i < n; ++i) {
    vf sum[V];
    for (int v = 0; v < V; ++v) sum[v] = vf{};
#pragma GCC unroll 6
    for (int k = 0; k < D1; ++k) {
      const float* const from = values + touch.slots[k * kCrfBlock + i] * pitch;
      const float w = touch.weights[k * kCrfBlock + i];
      for (int v = 0; v < V; ++v) sum[v] = sum[v] + w * load(from + v * kLanes);
    }
    if (GRID) {
      const float* const from = row + (touch.node[i] - touch.first_node) * pitch;
      for (int k = 0; k < kCrfTaps; ++k) {
        const float w = touch.node_weight[i * kCrfTaps + k];
        for (int v = 0; v < V; ++v) sum[v] = sum[v] + w * load(from + k * pitch + v * kLanes);
      }
    }
    for (int v = 0; v < V; ++v) store(pixels + i * pitch + v * kLanes, sum[v]);
  }
}

template <int V, bool ALL, int D1>
inline void splat_block(const CrfTouch& touch, int n, const float* pixels, int64_t any_pitch, float* values) {
  const int64_t pitch = ALL ? V * kLanes : any_pitch;
  for (int i = 0; i < n; ++i) {
    vf q[V];
    for (int v = 0; v < V; ++v) q[v] = load(pixels + i * pitch + v * kLanes);
#pragma GCC unroll 6
    for (int k = 0; k < D1; ++k) {
      float* const to = values + touch.slots[k * kCrfBlock + i] * pitch;
      const float w = touch.weights[k * kCrfBlock + i];
      for (int v = 0; v < V; ++v) store(to + v * kLanes, load(to + v * kLanes) + w * q[v]);
    }
  }
}

// What the marginals of one row of the tile add to its nodes; V vectors of classes.
template <int V, bool ALL>
inline void splat_row(const CrfView& view, const CrfTile& tile, int64_t y, const float* pixels, int64_t any_pitch,
                      float* nodes) {
  const int64_t pitch = ALL ? V * kLanes : any_pitch;
  const int32_t* const node = view.column_node + tile.x0;
  const float* const column_weight = view.column_weight + int64_t{tile.x0} * kCrfTaps;
  const float* const row_weight = view.row_weight + y * kCrfTaps;
  float* const top = nodes + (view.row_node[y] - tile.node_y) * tile.node_columns * pitch;
  vf sum[kCrfTaps][V];  // of the nodes from `at` on
  for (int k = 0; k < kCrfTaps; ++k) {
    for (int v = 0; v < V; ++v) sum[k][v] = vf{};
  }
  int32_t at = tile.node_x;
  const auto leave = [&] {
    for (int k = 0; k < kCrfTaps; ++k) {
      float* const to = top + (k * tile.node_columns + at - tile.node_x) * pitch;
      for (int v = 0; v < V; ++v) store(to + v * kLanes, load(to + v * kLanes) + row_weight[k] * sum[0][v]);
    }
    for (int v = 0; v < V; ++v) {
      for (int k = 1; k < kCrfTaps; ++k) sum[k - 1][v] = sum[k][v];
      sum[kCrfTaps - 1][v] = vf{};
    }
    ++at;
  };
  for (int32_t x = 0; x < tile.width; ++x) {
    while (at < node[x]) leave();
    for (int v = 0; v < V; ++v) {
      const vf q = load(pixels + x * pitch + v * kLanes);
      for (int k = 0; k < kCrfTaps; ++k) sum[k][v] = sum[k][v] + column_weight[x * kCrfTaps + k] * q;
    }
  }
  for (int k = 0; k < kCrfTaps; ++k) leave();
}

template <int D1, bool GRID>
void sweep_tile(const CrfSweep& job, const CrfTile& tile, float* scratch, unsigned* status) {
  const CrfView& view = job.view;
  const int64_t pitch = job.pitch, plane = view.height * view.width;
  float* const pixels = scratch;                           // one row of the tile
  float* const planes = pixels + kCrfTile * pitch;
  float* const row = planes + kCrfBlock * pitch;           // filtered values of one image row's nodes
  float* const values = row + tile.node_columns * pitch;   // the tile's copy of its vertices
  float* const slots = job.lattice_slots + tile.first_slot * pitch;
  float* const nodes = job.node_slots + tile.first_node * pitch;
  const size_t vertex_bytes = static_cast<size_t>(pitch) * sizeof(float);
  std::memset(planes, 0, kCrfBlock * vertex_bytes);
  std::memset(pixels, 0, kCrfTile * vertex_bytes);
  if (D1 && job.slice) {
    for (int64_t s = 0; s < tile.n_slots; ++s) {
      std::memcpy(values + s * pitch, job.lattice + view.vertex_of_slot[tile.first_slot + s] * pitch, vertex_bytes);
    }
  }
  if (D1 && job.splat) std::memset(slots, 0, static_cast<size_t>(tile.n_slots) * vertex_bytes);
  if (GRID && job.splat) std::memset(nodes, 0, static_cast<size_t>(tile.node_rows * tile.node_columns) * vertex_bytes);

  int64_t block_index = tile.first_block;
  for (int64_t y = tile.y0; y < tile.y0 + tile.height; ++y) {
    if (GRID && job.slice) {
      const float* const row_weight = view.row_weight + y * kCrfTaps;
      const float* const from = job.nodes + (view.row_node[y] * view.grid_width + tile.node_x) * pitch;
      const int64_t below = view.grid_width * pitch;
      for (int64_t i = 0; i < tile.node_columns * pitch; i += kLanes) {
        store(row + i, load(from + i) * row_weight[0] + load(from + below + i) * row_weight[1] +
                           load(from + 2 * below + i) * row_weight[2]);
      }
    }
    for (int64_t x = 0; x < tile.width; x += kCrfBlock, ++block_index) {
      CrfPixels block;
      block.n = static_cast<int>(tile.width - x < kCrfBlock ? tile.width - x : kCrfBlock);
      block.at = y * view.width + tile.x0 + x;
      block.planes = planes;
      CrfTouch touch{};
      if (D1) {
        touch.slots = view.slots + block_index * (D1 * kCrfBlock);
        touch.weights = view.weights + block_index * (D1 * kCrfBlock);
      }
      if (GRID) {
        touch.node = view.column_node + tile.x0 + x;
        touch.node_weight = view.column_weight + (tile.x0 + x) * kCrfTaps;
        touch.first_node = tile.node_x;
      }
      // The planes are far apart: what the next row will read of each is fetched now.
      if ((job.slice || job.unary != CrfUnary::labels) && y + 1 < tile.y0 + tile.height) {
        const float* const below = (job.slice ? job.out : static_cast<const float*>(job.source)) + block.at + view.width;
        for (int64_t c = 0; c < job.n_classes; ++c) __builtin_prefetch(below + c * plane);
        if (x + kCrfBlock >= tile.width) {
          for (int64_t c = 0; c < job.n_classes; ++c) __builtin_prefetch(below + c * plane + block.n - 1);
        }
      }
      if (job.first) {
        *status |= read_unary(job, block);
        write_planes(job, block);
      }
      float* const here = pixels + x * pitch;
      if (job.slice) {
        if (pitch == 2 * kLanes) {
          slice_block<2, true, D1, GRID>(touch, block.n, values, row, pitch, here);
          to_planes<2>(here, pitch, planes);
        } else {
          int64_t c = 0;
          for (; c + 2 * kLanes <= pitch; c += 2 * kLanes) {
            slice_block<2, false, D1, GRID>(touch, block.n, values + c, row + c, pitch, here + c);
          }
          if (c < pitch) slice_block<1, false, D1, GRID>(touch, block.n, values + c, row + c, pitch, here + c);
          to_planes<0>(here, pitch, planes);
        }
        update_marginals(job, block);
      }
      if (job.clamp) apply_clamp(job, block);
      if (job.last) write_planes(job, block);
      if (job.splat) {  // the padding of the planes is 0, as that of the vertices and nodes
        if (pitch == 2 * kLanes) {
          to_pixels<2>(planes, pitch, here);
          splat_block<2, true, D1>(touch, block.n, here, pitch, slots);
        } else {
          to_pixels<0>(planes, pitch, here);
          int64_t c = 0;
          for (; c + 2 * kLanes <= pitch; c += 2 * kLanes) {
            splat_block<2, false, D1>(touch, block.n, here + c, pitch, slots + c);
          }
          if (c < pitch) splat_block<1, false, D1>(touch, block.n, here + c, pitch, slots + c);
        }
      }
    }
    if (GRID && job.splat) {
      if (pitch == 2 * kLanes) {
        splat_row<2, true>(view, tile, y, pixels, pitch, nodes);
      } else {
        int64_t c = 0;
        for (; c + 2 * kLanes <= pitch; c += 2 * kLanes) {
          splat_row<2, false>(view, tile, y, pixels + c, pitch, nodes + c);
        }
        if (c < pitch) splat_row<1, false>(view, tile, y, pixels + c, pitch, nodes + c);
      }
    }
  }
}

int64_t crf_pitch(int64_t n_classes) { return (n_classes + kLanes - 1) / kLanes * kLanes; }

int64_t crf_sweep_scratch(const CrfSweep& job, const CrfTile& tile) {
  return (kCrfTile + kCrfBlock + tile.node_columns + tile.n_slots) * job.pitch;
}

unsigned crf_sweep_tile(const CrfSweep& job, const CrfTile& tile, float* scratch) {
  unsigned status = 0;
  const int corners = job.view.corners;
  if (job.view.grid) {
    if (corners == 6) sweep_tile<6, true>(job, tile, scratch, &status);
    else if (corners == 4) sweep_tile<4, true>(job, tile, scratch, &status);
    else sweep_tile<0, true>(job, tile, scratch, &status);
  } else {
    if (corners == 6) sweep_tile<6, false>(job, tile, scratch, &status);
    else if (corners == 4) sweep_tile<4, false>(job, tile, scratch, &status);
    else sweep_tile<0, false>(job, tile, scratch, &status);
  }
  return status;
}
