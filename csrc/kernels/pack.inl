// Copies the values that reach a threshold, in order. `out` must hold n + kPackPad floats.

int64_t pack_values(const float* values, int64_t n, float threshold, float* out) {
  int64_t size = 0, i = 0;
  for (; i + kLanes <= n; i += kLanes) size += pack_at_least(out + size, load(values + i), threshold);
  for (; i < n; ++i) {
    out[size] = values[i];
    size += values[i] >= threshold;
  }
  return size;
}
