// Edges of a picture (Sobel gradient of the luma) or of a label map (a neighbour has another label).

// Luma of row y in 0..1, with one column repeated at either end; row[1] is column 0.
inline void luma_row(const EdgeJob& job, int64_t y, float* row) {
  const int64_t last = job.height - 1;
  y = y < 0 ? 0 : y > last ? last : y;
  const uint8_t* p = job.image + y * job.width * job.channels;
  if (job.channels == 1) {
    for (int64_t x = 0; x < job.width; ++x) row[x + 1] = static_cast<float>(p[x]) * (1.0f / 255.0f);
  } else {
    for (int64_t x = 0; x < job.width; ++x)  // ITU-R BT.601
      row[x + 1] = (0.299f * static_cast<float>(p[3 * x]) + 0.587f * static_cast<float>(p[3 * x + 1]) +
                    0.114f * static_cast<float>(p[3 * x + 2])) * (1.0f / 255.0f);
  }
  row[0] = row[1];
  row[job.width + 1] = row[job.width];
}

inline void gradient_row(const EdgeJob& job, const float* above, const float* here, const float* below, uint8_t* out) {
  // A unit step along an axis has gradient 1 along it; the magnitude is at most sqrt(2), halved below by the
  // division of its square.
  const float limit = 2.0f * job.threshold * job.threshold;
  for (int64_t x = 0; x < job.width; ++x) {
    const float gx = 0.25f * ((above[x + 2] - above[x]) + 2.0f * (here[x + 2] - here[x]) + (below[x + 2] - below[x]));
    const float gy = 0.25f * ((below[x] - above[x]) + 2.0f * (below[x + 1] - above[x + 1]) + (below[x + 2] - above[x + 2]));
    out[x] = gx * gx + gy * gy >= limit;
  }
}

inline void label_row(const EdgeJob& job, int64_t y, uint8_t* out) {
  const int32_t* here = job.labels + y * job.width;
  const int32_t* above = y > 0 ? here - job.width : here;
  const int32_t* below = y + 1 < job.height ? here + job.width : here;
  for (int64_t x = 0; x < job.width; ++x) {
    const int32_t left = here[x > 0 ? x - 1 : 0], right = here[x + 1 < job.width ? x + 1 : x];
    out[x] = here[x] != above[x] || here[x] != below[x] || here[x] != left || here[x] != right;
  }
}

// scratch: 3 (W + 2) floats.
void edge_rows(const EdgeJob& job, int64_t y0, int64_t y1, float* scratch) {
  float* rows[3] = {scratch, scratch + job.width + 2, scratch + 2 * (job.width + 2)};
  if (job.image)
    for (int64_t i = 0; i < 2; ++i) luma_row(job, y0 - 1 + i, rows[i]);
  for (int64_t y = y0; y < y1; ++y) {
    uint8_t* out = job.out + y * job.width;
    if (!job.image) {
      label_row(job, y, out);
      continue;
    }
    luma_row(job, y + 1, rows[2]);
    gradient_row(job, rows[0], rows[1], rows[2], out);
    float* const first = rows[0];
    rows[0] = rows[1];
    rows[1] = rows[2];
    rows[2] = first;
  }
}

// Widens the edges in `in` by `radius` in every direction (a square), rows [y0, y1) of job.out.
// scratch: 2 W + 2 radius + 2 integers.
void dilate_rows(const EdgeJob& job, const uint8_t* in, int64_t radius, int64_t y0, int64_t y1, float* scratch) {
  const int64_t width = job.width;
  int32_t* const prefix = reinterpret_cast<int32_t*>(scratch);
  int32_t* const column = prefix + width + 2 * radius + 2;
  for (int64_t y = y0; y < y1; ++y) {
    const int64_t first = y > radius ? y - radius : 0;
    const int64_t last = y + radius < job.height ? y + radius : job.height - 1;
    for (int64_t x = 0; x < width; ++x) column[x] = in[first * width + x];
    for (int64_t r = first + 1; r <= last; ++r)
      for (int64_t x = 0; x < width; ++x) column[x] |= in[r * width + x];
    prefix_sum(column, width, radius, prefix);
    uint8_t* const out = job.out + y * width;
    for (int64_t x = 0; x < width; ++x) out[x] = prefix[x + 2 * radius + 1] > prefix[x];
  }
}
