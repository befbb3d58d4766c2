#include "diagnostics/nested_rhat.hpp"

#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <span>
#include <vector>

#include "config/error.hpp"

namespace stanley {

double nested_rhat(const ChainDraws& all, std::int64_t superchains) {
  check_shape(all);
  if (superchains < 1 || all.chains % superchains != 0) {
    throw Error(ExitCode::bug, fmt::format("{} chains can't be {} super-chains of equally many",
                                           all.chains, superchains));
  }
  const std::int64_t chains = all.chains / superchains;
  if (count_not_finite(all.values) > 0 || superchains == 1 || chains * all.draws == 1) {
    return std::numeric_limits<double>::quiet_NaN();
  }
  const std::vector<double> means = chain_means(all);
  std::vector<double> super_means;
  double within = 0;
  for (std::int64_t k = 0; k < superchains; ++k) {
    const auto of_chains = std::span(means).subspan(static_cast<std::size_t>(k * chains),
                                                    static_cast<std::size_t>(chains));
    super_means.push_back(mean_of(of_chains));
    if (chains > 1) within += variance_of(of_chains);
  }
  if (all.draws > 1) {
    double variances = 0;
    for (std::int64_t c = 0; c < all.chains; ++c) variances += variance_of(all.chain(c));
    within += variances / static_cast<double>(chains);
  }
  within /= static_cast<double>(superchains);
  return std::sqrt(1 + variance_of(super_means) / within);
}

double nested_rhat_limit(std::int64_t chains_per_superchain) {
  return std::sqrt(1.01 * 1.01 + 1 / static_cast<double>(chains_per_superchain));
}

}  // namespace stanley
