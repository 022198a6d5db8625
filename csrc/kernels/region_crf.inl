// One parallel update of the mean field over a graph of regions: Q_i(l) ~ p_i(l) exp(-E_i(l)), where E_i is what the
// neighbours' labels would cost. Rows of classes are whole vectors long; what pads them has probability 0.

// The message sum_j w_ij Q_j of region i.
inline void gather_messages(const RegionCrfJob& job, const float* q, int64_t i, float* message) {
  for (int64_t l = 0; l < job.pitch; l += kLanes) {
    vf sum = vf{};
    for (int64_t e = job.first[i]; e < job.first[i + 1]; ++e)
      sum += job.weight[e] * load(q + job.neighbour[e] * job.pitch + l);
    store(message + l, sum);
  }
}

// Of Potts, the negative of the message: what all labels pay alike cancels.
inline void energies_of(const RegionCrfJob& job, const float* message, float* energy) {
  for (int64_t l = 0; l < job.pitch; l += kLanes) {
    vf e = vf{};
    if (job.penalty == nullptr) e = -load(message + l);
    else
      for (int64_t other = 0; other < job.n_classes; ++other)
        e += message[other] * load(job.penalty + other * job.pitch + l);
    store(energy + l, e + load(job.padding + l));
  }
}

int64_t region_crf_scratch(const RegionCrfJob& job) { return 2 * job.pitch; }

// Regions r0..r1 - 1 of the next q [S, pitch] from this one.
void region_crf_step(const RegionCrfJob& job, const float* q, float* next, int64_t r0, int64_t r1, float* scratch) {
  float* const message = scratch;
  float* const energy = scratch + job.pitch;
  for (int64_t i = r0; i < r1; ++i) {
    const float* const unary = job.unary + i * job.pitch;
    float* const out = next + i * job.pitch;
    if (job.first[i] == job.first[i + 1] || (job.clamp && job.clamp[i] >= 0)) {
      std::memcpy(out, q + i * job.pitch, static_cast<size_t>(job.pitch) * sizeof(float));
      continue;
    }
    gather_messages(job, q, i, message);
    energies_of(job, message, energy);
    vf least = load(energy);
    for (int64_t l = kLanes; l < job.pitch; l += kLanes) least = vmin(least, load(energy + l));
    float lanes[kLanes];
    store(lanes, least);
    float lowest = lanes[0];
    for (int k = 1; k < kLanes; ++k) lowest = lanes[k] < lowest ? lanes[k] : lowest;
    vf sum = vf{};
    for (int64_t l = 0; l < job.pitch; l += kLanes) {
      const vf value = load(unary + l) * exp2_of((lowest - load(energy + l)) * kLog2e);
      store(out + l, value);
      sum += value;
    }
    const vf scale = splat(1.0f / hsum(sum));
    for (int64_t l = 0; l < job.pitch; l += kLanes) store(out + l, load(out + l) * scale);
  }
}
