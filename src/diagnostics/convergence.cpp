#include "diagnostics/convergence.hpp"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>

#include "diagnostics/distributions.hpp"

namespace stanley {
namespace {

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();

/// The draws without the middle one of each chain of an odd number.
std::vector<double> halves_of(const ChainDraws& all) {
  const std::int64_t half = all.draws / 2;
  std::vector<double> halves;
  for (std::int64_t c = 0; c < all.chains; ++c) {
    const auto chain = all.chain(c);
    halves.insert(halves.end(), chain.begin(), chain.begin() + half);
    halves.insert(halves.end(), chain.end() - half, chain.end());
  }
  return halves;
}

/// All draws in ascending order: those of the halves, and the middle ones.
std::vector<double> with_middles(const std::vector<double>& halves, const ChainDraws& all) {
  if (all.draws % 2 == 0) return halves;
  std::vector<double> middles, merged;
  for (std::int64_t c = 0; c < all.chains; ++c) middles.push_back(all.chain(c)[all.draws / 2]);
  std::ranges::sort(middles);
  std::ranges::merge(halves, middles, std::back_inserter(merged));
  return merged;
}

/// √((B/W + N − 1)/N) with N·var(chain means) = B and mean(chain variances) = W.
double rhat_of(const ChainDraws& all) {
  double within = 0;
  for (std::int64_t c = 0; c < all.chains; ++c) within += variance_of(all.chain(c));
  within /= static_cast<double>(all.chains);
  const auto n = static_cast<double>(all.draws);
  const double between = n * variance_of(chain_means(all));
  return std::sqrt((between / within + n - 1) / n);
}

/// The autocorrelation time τ of several chains from their autocorrelations at lags 0, 1, ...: sums
/// of two neighbours by Geyer's initial positive and initial monotone sequences (Vehtari et al.
/// 2021, equations 10 to 13; the end of the sequence as in ArviZ and Stan).
double autocorrelation_time(const std::vector<double>& of_lag) {
  const auto n = static_cast<std::int64_t>(of_lag.size());
  std::vector<double> kept(of_lag.size());
  kept[0] = of_lag[0];
  kept[1] = of_lag[1];
  double even = of_lag[0], odd = of_lag[1];
  std::int64_t t = 1;
  for (; t < n - 3 && even + odd > 0; t += 2) {
    even = of_lag[t + 1];
    odd = of_lag[t + 2];
    if (even + odd >= 0) {
      kept[t + 1] = even;
      kept[t + 2] = odd;
    }
  }
  const std::int64_t last = t - 2;
  if (even > 0) kept[last + 1] = even;
  for (t = 1; t <= last - 2; t += 2) {
    const double before = kept[t - 1] + kept[t];
    if (kept[t + 1] + kept[t + 2] > before) kept[t + 1] = kept[t + 2] = before / 2;
  }
  double sum = 0;
  for (t = 0; t <= last; ++t) sum += kept[t];
  return -1 + 2 * sum + kept[last + 1];
}

/// The first k in 0 … n − 1 that `reached` is true of, as of all after it; n where there is none.
template <typename Predicate>
std::int64_t first_where(std::int64_t n, Predicate reached) {
  std::int64_t first = 0;
  while (first < n) {
    const std::int64_t middle = first + (n - first) / 2;
    if (reached(middle)) {
      n = middle;
    } else {
      first = middle + 1;
    }
  }
  return first;
}

}  // namespace

Convergence::Convergence(const ChainDraws& all) : all_(all), autocovariance_(all.draws / 2) {
  check_shape(all);
  finite_ = count_not_finite(all.values) == 0;
  if (!finite_) return;
  halves_ = halves_of(all);
  order_ = sorted(halves_);
  scores_ = normal_scores(order_);
  ascending_ = with_middles(order_.values, all);
}

ChainDraws Convergence::view_halves(std::span<const double> values) const {
  return {.values = values, .chains = 2 * all_.chains, .draws = all_.draws / 2};
}

double Convergence::mean() const { return finite_ ? mean_of(all_.values) : not_a_number; }

double Convergence::sd() const {
  return finite_ ? std::sqrt(variance_of(all_.values)) : not_a_number;
}

double Convergence::quantile(double probability) const {
  return finite_ ? quantile_of(ascending_, probability) : not_a_number;
}

double Convergence::rhat_bulk() const {
  if (!has_halves() || all_.chains < 2) return not_a_number;
  return rhat_of(view_halves(scores_));
}

double Convergence::rhat_folded() const {
  if (!has_halves() || all_.chains < 2) return not_a_number;
  return rhat_of(view_halves(normal_scores(folded(order_))));
}

double Convergence::rhat() const { return std::max(rhat_bulk(), rhat_folded()); }

double Convergence::effective_size(std::span<const double> values) const {
  const ChainDraws halves = view_halves(values);
  const auto count = static_cast<double>(values.size());
  const auto [least, most] = std::ranges::minmax(values);
  if (most - least < 1e-15) return count;
  const std::vector<double> means = chain_means(halves);
  std::vector<double> of_lag = autocovariance_.mean(halves, means);
  const auto n = static_cast<double>(halves.draws);
  const double within = of_lag[0] * n / (n - 1);
  const double in_all = of_lag[0] + variance_of(means);
  std::ranges::transform(of_lag, of_lag.begin(),
                         [&](double covariance) { return 1 - (within - covariance) / in_all; });
  if (std::isnan(of_lag[1])) return not_a_number;  // squares beyond the largest number
  of_lag[0] = 1;
  return count / std::max(autocorrelation_time(of_lag), 1 / std::log10(count));
}

double Convergence::ess_bulk() const {
  return has_halves() ? effective_size(scores_) : not_a_number;
}

double Convergence::ess_tail() const { return std::min(ess_quantile(0.05), ess_quantile(0.95)); }

double Convergence::ess_mean() const {
  return has_halves() ? effective_size(halves_) : not_a_number;
}

double Convergence::ess_quantile(double probability) const {
  if (!has_halves()) return not_a_number;
  const double limit = quantile(probability);
  std::vector<double> below(halves_.size());
  std::ranges::transform(halves_, below.begin(), [limit](double x) { return x <= limit ? 1 : 0; });
  return effective_size(below);
}

double Convergence::mcse_mean() const { return sd() / std::sqrt(ess_mean()); }

double Convergence::mcse_sd() const {
  if (!has_halves()) return not_a_number;
  const double centre = mean();
  const auto squares_of = [centre](std::span<const double> values) {
    std::vector<double> squares(values.size());
    std::ranges::transform(values, squares.begin(),
                           [centre](double x) { return (x - centre) * (x - centre); });
    return squares;
  };
  std::vector<double> squares = squares_of(all_.values);
  const double variance = mean_of(squares);
  for (double& square : squares) square = (square - variance) * (square - variance);
  const double effective = effective_size(squares_of(halves_));
  return std::sqrt(mean_of(squares) / effective / variance / 4);
}

/// Half the distance of the two draws that enclose the central 68.3 % of where the quantile lies,
/// by the law Beta(S·p + 1, S·(1 − p) + 1) for S effective draws (Vehtari et al. 2021,
/// section 4.4).
double Convergence::mcse_quantile(double probability, double effective) const {
  if (!has_halves()) return not_a_number;
  constexpr double low = 0.1586553, high = 0.8413447;  // ArviZ's digits
  const double a = effective * probability + 1, b = effective * (1 - probability) + 1;
  const auto n = static_cast<std::int64_t>(ascending_.size());
  const auto reached = [&](std::int64_t k) {
    return incomplete_beta(static_cast<double>(k + 1) / static_cast<double>(n), a, b);
  };
  // Draw k stands for the share (k + 1)/n: the last share up to the law's lower quantile, and the
  // first from its upper one on.
  const std::int64_t first = first_where(n, [&](std::int64_t k) { return reached(k) > low; });
  const std::int64_t last = first_where(n - 1, [&](std::int64_t k) { return reached(k) >= high; });
  return (ascending_[last] - ascending_[std::max<std::int64_t>(first - 1, 0)]) / 2;
}

}  // namespace stanley
