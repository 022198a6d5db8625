// Filters on the vertices of the lattice and the nodes of the grid: [n, pitch] floats, classes side by side.

// values[v] = sum of what the tiles splatted on vertex v, in the order of the tiles.
void crf_collect(const float* slots, const int64_t* first, const int32_t* slot, int64_t begin, int64_t end,
                 int64_t pitch, float* values) {
  for (int64_t v = begin; v < end; ++v) {
    float* const to = values + v * pitch;
    for (int64_t c = 0; c < pitch; c += kLanes) {
      vf sum = vf{};
      for (int64_t i = first[v]; i < first[v + 1]; ++i) sum = sum + load(slots + slot[i] * pitch + c);
      store(to + c, sum);
    }
  }
}

// One direction of the lattice: half of each neighbour is added. neighbour [n, 2]; a missing one is a vertex of zeros.
void crf_blur_lattice(const float* in, const int32_t* neighbour, int64_t begin, int64_t end, int64_t pitch,
                      float* out) {
  for (int64_t v = begin; v < end; ++v) {
    const float* const before = in + neighbour[2 * v] * pitch;
    const float* const after = in + neighbour[2 * v + 1] * pitch;
    for (int64_t c = 0; c < pitch; c += kLanes) {
      store(out + v * pitch + c, load(in + v * pitch + c) + 0.5f * (load(before + c) + load(after + c)));
    }
  }
}

// Nodes [begin, end) of a line of `length` of them, `stride` floats apart; taps[0..radius], symmetric.
void crf_blur_line(const float* in, int64_t length, int64_t begin, int64_t end, int64_t stride, int64_t pitch,
                   const float* taps, int radius, float* out) {
  for (int64_t i = begin; i < end; ++i) {
    for (int64_t c = 0; c < pitch; c += kLanes) {
      const float* const at = in + i * stride + c;
      vf sum = load(at) * taps[0];
      for (int r = 1; r <= radius; ++r) {
        if (i - r >= 0) sum = sum + load(at - r * stride) * taps[r];
        if (i + r < length) sum = sum + load(at + r * stride) * taps[r];
      }
      store(out + i * stride + c, sum);
    }
  }
}

// values[v] = -penalty values[v]; penalty [n_classes, pitch], symmetric, zeros in the padding.
void crf_penalise(float* values, int64_t begin, int64_t end, int64_t n_classes, int64_t pitch, const float* penalty,
                  float* scratch) {
  for (int64_t v = begin; v < end; ++v) {
    float* const at = values + v * pitch;
    for (int64_t c = 0; c < pitch; c += kLanes) {
      vf sum = vf{};
      for (int64_t k = 0; k < n_classes; ++k) sum = sum - at[k] * load(penalty + k * pitch + c);
      store(scratch + c, sum);
    }
    std::memcpy(at, scratch, static_cast<size_t>(pitch) * sizeof(float));
  }
}
