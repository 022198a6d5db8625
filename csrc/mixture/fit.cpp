#include "mixture/fit.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "isa/levels.h"

namespace alseg {
namespace {

using Components = std::vector<Gaussian>;

constexpr double kHalfLogTwoPi = 0.918938533204672742;
constexpr double kLeastShare = 1e-300;  // of a component that has lost its points

class Em {
 public:
  Em(const MixturePoints& points, const MixtureOptions& options, size_t k)
      : points_(points), options_(options), constants_(k), sums_(3 * k), least_(points.x[0]), most_(points.x[0]) {
    for (int64_t i = 0; i < points.n; ++i) {
      if (points.weight[i] <= 0.0) continue;
      least_ = std::min(least_, points.x[i]);
      most_ = std::max(most_, points.x[i]);
    }
  }

  // `to`: the components after one iteration from `from`. Returns the log-likelihood of `from`.
  double step(const Components& from, Components* to) {
    for (size_t k = 0; k < from.size(); ++k)
      constants_[k] = std::log(std::max(from[k].share, kLeastShare)) - 0.5 * std::log(from[k].variance);
    const double likelihood =
        kernels().mixture_step(points_, static_cast<int>(from.size()), from.data(), constants_.data(), sums_.data());
    to->resize(from.size());
    for (size_t k = 0; k < from.size(); ++k) {
      const double share = sums_[3 * k];
      Gaussian& out = (*to)[k];
      out = from[k];
      out.share = share;
      if (!(share > kLeastShare)) continue;  // nothing to learn from
      out.mean = sums_[3 * k + 1] / share;
      out.variance = std::max(sums_[3 * k + 2] / share - out.mean * out.mean, 0.0) + options_.variance_floor;
    }
    return likelihood - kHalfLogTwoPi;
  }

  // A step of SQUAREM (Varadhan and Roland 2008, scheme S3) along a -> b -> c, three successive iterations; false
  // where it leads nowhere.
  bool extrapolate(const Components& a, const Components& b, const Components& c, Components* out) const {
    double rr = 0.0, vv = 0.0;
    for (size_t k = 0; k < a.size(); ++k) {
      for (int m = 0; m < 3; ++m) {
        const double r = free_of(b[k], m) - free_of(a[k], m);
        const double v = free_of(c[k], m) - free_of(b[k], m) - r;
        rr += r * r;
        vv += v * v;
      }
    }
    if (!(vv > 0.0) || !(rr > vv)) return false;
    const double alpha = -std::sqrt(rr / vv);
    out->resize(a.size());
    double total = 0.0;
    for (size_t k = 0; k < a.size(); ++k) {
      double free[3];
      for (int m = 0; m < 3; ++m) {
        const double r = free_of(b[k], m) - free_of(a[k], m);
        const double v = free_of(c[k], m) - free_of(b[k], m) - r;
        free[m] = free_of(a[k], m) - 2.0 * alpha * r + alpha * alpha * v;
      }
      Gaussian& g = (*out)[k];
      g = {std::exp(free[0]), free[1], std::exp(free[2])};
      total += g.share;
      const double spread = most_ - least_;
      if (!(g.mean >= least_ && g.mean <= most_ && g.variance >= options_.variance_floor &&
            g.variance <= spread * spread + options_.variance_floor))
        return false;
    }
    if (!(total > 0.0 && total < std::numeric_limits<double>::infinity())) return false;
    for (Gaussian& g : *out) g.share /= total;
    return true;
  }

 private:
  // Parameters without bounds: the logarithms of share and variance, and the mean.
  static double free_of(const Gaussian& g, int m) {
    return m == 1 ? g.mean : std::log(m == 0 ? std::max(g.share, kLeastShare) : g.variance);
  }

  const MixturePoints& points_;
  const MixtureOptions& options_;
  std::vector<double> constants_, sums_;
  double least_, most_;
};

// The largest change of a share, a mean or a standard deviation.
double change_of(const Components& a, const Components& b) {
  double most = 0.0;
  for (size_t k = 0; k < a.size(); ++k) {
    most = std::max({most, std::abs(a[k].share - b[k].share), std::abs(a[k].mean - b[k].mean),
                     std::abs(std::sqrt(a[k].variance) - std::sqrt(b[k].variance))});
  }
  return most;
}

MixtureFit fit_plain(Em* em, const MixtureOptions& options, Components* components) {
  MixtureFit fit{-std::numeric_limits<double>::infinity(), 0, false};
  Components next;
  while (fit.n_iter < options.max_iter && !fit.converged) {
    const double likelihood = em->step(*components, &next);
    std::swap(*components, next);
    ++fit.n_iter;
    fit.converged = std::abs(likelihood - fit.log_likelihood) < options.tolerance;
    fit.log_likelihood = likelihood;
  }
  return fit;
}

}  // namespace

MixtureFit fit_mixture(const MixturePoints& points, const MixtureOptions& options, Components* components) {
  Em em(points, options, components->size());
  if (options.plain) return fit_plain(&em, options, components);
  MixtureFit fit{-std::numeric_limits<double>::infinity(), 0, false};
  Components one, two, far, next;
  while (fit.n_iter < options.max_iter && !fit.converged) {
    fit.log_likelihood = em.step(*components, &one);
    ++fit.n_iter;
    fit.converged = change_of(*components, one) <= options.tolerance;
    if (fit.converged || fit.n_iter == options.max_iter) {
      std::swap(*components, one);
      break;
    }
    const double at_one = em.step(one, &two);
    ++fit.n_iter;
    fit.log_likelihood = at_one;
    if (fit.n_iter < options.max_iter && em.extrapolate(*components, one, two, &far)) {
      const double at_far = em.step(far, &next);
      ++fit.n_iter;
      if (at_far >= at_one) {
        fit.log_likelihood = at_far;
        std::swap(*components, next);
        continue;
      }
    }
    std::swap(*components, two);
  }
  return fit;
}

}  // namespace alseg
