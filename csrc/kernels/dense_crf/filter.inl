// The bilateral filter alone: planes of pixels onto the vertices of a tile (splat), and back (slice).

template <int D1>
void filter_splat(const CrfSweep& job, const CrfTile& tile, float* scratch) {
  const CrfView& view = job.view;
  const int64_t pitch = job.pitch, plane = view.height * view.width;
  const float* const source = static_cast<const float*>(job.source);
  float* const planes = scratch;
  float* const pixels = planes + kCrfBlock * pitch;
  float* const slots = job.lattice_slots + tile.first_slot * pitch;
  std::memset(planes, 0, static_cast<size_t>(kCrfBlock * pitch) * sizeof(float));  // the padding stays 0
  std::memset(slots, 0, static_cast<size_t>(tile.n_slots * pitch) * sizeof(float));
  int64_t block = tile.first_block;
  for (int64_t y = tile.y0; y < tile.y0 + tile.height; ++y) {
    for (int64_t x = 0; x < tile.width; x += kCrfBlock, ++block) {
      const int n = static_cast<int>(tile.width - x < kCrfBlock ? tile.width - x : kCrfBlock);
      const float* const at = source + y * view.width + tile.x0 + x;
      for (int64_t c = 0; c < job.n_classes; ++c) load_some(at + c * plane, n, 0.0f, planes + c * kCrfBlock);
      to_pixels<0>(planes, pitch, pixels);
      CrfTouch touch{};
      touch.slots = view.slots + block * (D1 * kCrfBlock);
      touch.weights = view.weights + block * (D1 * kCrfBlock);
      for (int64_t c = 0; c < pitch; c += kLanes) splat_block<1, false, D1>(touch, n, pixels + c, pitch, slots + c);
    }
  }
}

template <int D1>
void filter_slice(const CrfSweep& job, const CrfTile& tile, float* scratch) {
  const CrfView& view = job.view;
  const int64_t pitch = job.pitch, plane = view.height * view.width;
  float* const planes = scratch;
  float* const pixels = planes + kCrfBlock * pitch;
  float* const values = pixels + kCrfBlock * pitch;
  const size_t vertex_bytes = static_cast<size_t>(pitch) * sizeof(float);
  std::memset(pixels, 0, kCrfBlock * vertex_bytes);
  for (int64_t s = 0; s < tile.n_slots; ++s) {
    std::memcpy(values + s * pitch, job.lattice + view.vertex_of_slot[tile.first_slot + s] * pitch, vertex_bytes);
  }
  int64_t block = tile.first_block;
  for (int64_t y = tile.y0; y < tile.y0 + tile.height; ++y) {
    for (int64_t x = 0; x < tile.width; x += kCrfBlock, ++block) {
      const int n = static_cast<int>(tile.width - x < kCrfBlock ? tile.width - x : kCrfBlock);
      CrfTouch touch{};
      touch.slots = view.slots + block * (D1 * kCrfBlock);
      touch.weights = view.weights + block * (D1 * kCrfBlock);
      for (int64_t c = 0; c < pitch; c += kLanes)
        slice_block<1, false, D1, false>(touch, n, values + c, nullptr, pitch, pixels + c);
      to_planes<0>(pixels, pitch, planes);
      float* const at = job.out + y * view.width + tile.x0 + x;
      for (int64_t c = 0; c < job.n_classes; ++c)
        for (int i = 0; i < n; ++i) at[c * plane + i] = planes[c * kCrfBlock + i] * kLn2;  // weights are in its units
    }
  }
}

// job.splat: from `source` to the slots of the tile; else from the vertices to `out`.
void crf_filter_tile(const CrfSweep& job, const CrfTile& tile, float* scratch) {
  if (job.splat) {
    if (job.view.corners == 6) filter_splat<6>(job, tile, scratch);
    else filter_splat<4>(job, tile, scratch);
  } else {
    if (job.view.corners == 6) filter_slice<6>(job, tile, scratch);
    else filter_slice<4>(job, tile, scratch);
  }
}
