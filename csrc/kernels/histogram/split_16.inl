// 16 interleaved pixels -> 16 bytes of red, green, blue, where the level has nothing better.

typedef uint8_t vc __attribute__((vector_size(16)));

inline vc load_c(const uint8_t* p) {
  vc v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
inline void store_c(uint8_t* p, vc v) { std::memcpy(p, &v, sizeof v); }

inline void split_16(const uint8_t* in, uint8_t* r, uint8_t* g, uint8_t* b) {
  const vc x = load_c(in), y = load_c(in + 16), z = load_c(in + 32);
  const vc rxy = __builtin_shufflevector(x, y, 0, 3, 6, 9, 12, 15, 18, 21, 24, 27, 30, 0, 0, 0, 0, 0);
  const vc gxy = __builtin_shufflevector(x, y, 1, 4, 7, 10, 13, 16, 19, 22, 25, 28, 31, 0, 0, 0, 0, 0);
  const vc bxy = __builtin_shufflevector(x, y, 2, 5, 8, 11, 14, 17, 20, 23, 26, 29, 0, 0, 0, 0, 0, 0);
  store_c(r, __builtin_shufflevector(rxy, z, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 17, 20, 23, 26, 29));
  store_c(g, __builtin_shufflevector(gxy, z, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 18, 21, 24, 27, 30));
  store_c(b, __builtin_shufflevector(bxy, z, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 19, 22, 25, 28, 31));
}
