#include "diagnostics/autocovariance.hpp"

#include <algorithm>
#include <bit>
#include <limits>

namespace stanley {

Autocovariance::Autocovariance(std::int64_t draws)
    : fourier_(std::bit_ceil(static_cast<std::size_t>(2 * draws))) {}

std::vector<double> Autocovariance::mean(const ChainDraws& all,
                                         std::span<const double> means) const {
  const std::size_t n = fourier_.size();
  const auto draws = static_cast<std::size_t>(all.draws);
  std::vector<double> real(n), imaginary(n), power(n);
  const auto fill = [&](std::vector<double>& part, std::int64_t c) {
    const auto rest = part.begin() + all.draws;
    if (c < all.chains) {
      std::ranges::transform(all.chain(c), part.begin(), [&](double x) { return x - means[c]; });
    } else {
      std::fill(part.begin(), rest, 0.0);
    }
    std::fill(rest, part.end(), 0.0);
  };
  // Two chains at once, as real and imaginary part: the real part of the inverse transform of |z|²
  // is the sum of their autocovariances.
  for (std::int64_t c = 0; c < all.chains; c += 2) {
    fill(real, c);
    fill(imaginary, c + 1);
    fourier_.forward(real.data(), imaginary.data());
    for (std::size_t k = 0; k < n; ++k) {
      power[k] += real[k] * real[k] + imaginary[k] * imaginary[k];
    }
  }
  std::ranges::fill(imaginary, 0.0);
  fourier_.backward(power.data(), imaginary.data());
  power.resize(draws);
  for (double& value : power) {
    value /= static_cast<double>(n) * static_cast<double>(all.values.size());
  }
  return power;
}

std::vector<double> autocovariance(const ChainDraws& all) {
  check_shape(all);
  if (count_not_finite(all.values) > 0) {
    return std::vector<double>(all.draws, std::numeric_limits<double>::quiet_NaN());
  }
  return Autocovariance(all.draws).mean(all, chain_means(all));
}

std::vector<double> autocorrelation(const ChainDraws& all) {
  std::vector<double> values = autocovariance(all);
  const double variance = values.front();
  for (double& value : values) value /= variance;
  return values;
}

}  // namespace stanley
