// One iteration of expectation maximisation for Gaussians on a line, kPairs points at once in double precision. Vectors
// of doubles and the logarithm are those of knn/exact.inl.

inline double sum_d(vd v) {
  double lanes[kPairs];
  std::memcpy(lanes, &v, sizeof v);
  double sum = lanes[0];
  for (int i = 1; i < kPairs; ++i) sum += lanes[i];
  return sum;
}

// e^t for t <= 0, relative error 4e-16; below e^-700 it is e^-700, which vanishes beside the 1 of the largest term.
inline vd exp_d(vd t) {
  const vd least = vd{} - 700.0, magic = vd{} + 0x1.8p52;
  t = t > least ? t : least;
  const vd shifted = t * 0x1.71547652b82fep0 + magic;
  const vd n = shifted - magic;
  const vd f = (t - n * 0x1.62e42fefa3800p-1) - n * 0x1.ef35793c76730p-45;
  vd p = vd{} + 1.0 / 6227020800.0;
  p = p * f + 1.0 / 479001600.0;
  p = p * f + 1.0 / 39916800.0;
  p = p * f + 1.0 / 3628800.0;
  p = p * f + 1.0 / 362880.0;
  p = p * f + 1.0 / 40320.0;
  p = p * f + 1.0 / 5040.0;
  p = p * f + 1.0 / 720.0;
  p = p * f + 1.0 / 120.0;
  p = p * f + 1.0 / 24.0;
  p = p * f + 1.0 / 6.0;
  p = p * f + 0.5;
  p = p * f + 1.0;
  p = p * f + 1.0;
  return (vd)((vl)p + ((vl)shifted << 52));
}

// sums [K, 3]: what each of the K components takes of the weights, of their x and of their x^2. `constants` [K]: log of
// share over deviation. Returns the sum of the weighted log-likelihoods, without the logarithm of 2 pi.
template <int K>
double mixture_step_of(const MixturePoints& points, const Gaussian* components, const double* constants,
                       double* sums) {
  vd take[K][3] = {}, total = vd{};
  double half[K];
  for (int k = 0; k < K; ++k) half[k] = -0.5 / components[k].variance;
  for (int64_t i = 0; i < points.n; i += kPairs) {
    const vd x = load_d(points.x + i), weight = load_d(points.weight + i);
    vd e[K];
    for (int k = 0; k < K; ++k) {
      const vd away = x - components[k].mean;
      e[k] = away * away * half[k] + constants[k];
    }
    vd largest = e[0];
    for (int k = 1; k < K; ++k) largest = e[k] > largest ? e[k] : largest;
    vd sum = vd{};
    for (int k = 0; k < K; ++k) {
      e[k] = exp_d(e[k] - largest);
      sum += e[k];
    }
    total += weight * (largest + log1p_of(sum - 1.0));
    const vd scale = weight / sum;
    for (int k = 0; k < K; ++k) {
      const vd part = e[k] * scale, first = part * x;
      take[k][0] += part;
      take[k][1] += first;
      take[k][2] += first * x;
    }
  }
  for (int k = 0; k < K; ++k)
    for (int m = 0; m < 3; ++m) sums[3 * k + m] = sum_d(take[k][m]);
  return sum_d(total);
}

double mixture_step(const MixturePoints& points, int n_components, const Gaussian* components,
                    const double* constants, double* sums) {
  switch (n_components) {
    case 2: return mixture_step_of<2>(points, components, constants, sums);
    case 3: return mixture_step_of<3>(points, components, constants, sums);
    case 4: return mixture_step_of<4>(points, components, constants, sums);
    case 5: return mixture_step_of<5>(points, components, constants, sums);
    case 6: return mixture_step_of<6>(points, components, constants, sums);
    case 7: return mixture_step_of<7>(points, components, constants, sums);
    default: return mixture_step_of<8>(points, components, constants, sums);
  }
}
