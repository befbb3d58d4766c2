#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "evaluation/gaussian.hpp"
#include "evaluation/pairs.hpp"

namespace stanley {

/// A number with its 95 % interval.
struct Estimate {
  std::optional<double> value, low, high;  ///< none where it can't be told
};

/// Kernel inception distance, the unbiased estimate of the squared maximum mean discrepancy
/// (Bińkowski et al., arXiv 1801.01401, §4.1; Gretton et al. 2012, eq. 3):
/// mean k(x, x′) + mean k(y, y′) − 2 mean k(x, y) over x, x′ of different chains and different y,
/// y′. Of the draws of these classes; none where they are of one chain. Its interval is a delete-d
/// jackknife over the groups (Shao, Wu 1989): deviations of the estimate as groups are left out one
/// by one, for the reference as it is. None where fewer than three groups have draws.
Estimate kernel_distance(const PairTable& table, const Sorting& sorting, const Reference& reference,
                         const std::vector<std::int64_t>& classes);

/// Precision and recall (Kynkäänniemi et al., arXiv 1904.06991, eq. 2), density and coverage (Naeem
/// et al., arXiv 2002.09797, eqs. 4 and 5).
struct Manifold {
  double precision = 0, recall = 0, density = 0, coverage = 0;
};

/// Of all draws, or of those of one class alone.
Manifold manifold(const PairTable& table, const Sorting& sorting,
                  std::optional<std::int64_t> only_class);

/// Squared Fréchet distance of the Gaussians with the means and covariances (n − 1) of two sets of
/// features [n, d] and [m, d] float64, n, m ≥ 2: |μ − ν|² + tr(Σ + Τ − 2(ΣΤ)^½) (Heusel et al.,
/// arXiv 1706.08500, eq. 6). (ΣΤ)^½ has the trace Σ of the singular values of the product of
/// both factors, which keeps its digits where covariances are singular.
class FrechetDistance {
 public:
  explicit FrechetDistance(Gaussian reference) : reference_(std::move(reference)) {}
  double to(const at::Tensor& draws) const;

  /// The distance that infinitely many draws would have, by a line through the distances of parts
  /// of the draws over 1/n (Chong, Forsyth, arXiv 1911.07023); none where half of them are fewer
  /// than the features. `distance`: to(draws).
  std::optional<double> extrapolated(const at::Tensor& draws, double distance) const;

 private:
  Gaussian reference_;
};

}  // namespace stanley
