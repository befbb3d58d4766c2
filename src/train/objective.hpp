#pragma once

#include <ATen/core/Tensor.h>

#include "config/config.hpp"
#include "energy/network.hpp"
#include "energy/weight_gradient.hpp"

namespace stanley {

/// Sums over the samples of one rank, to be added over ranks.
struct EnergySums {
  double data = 0, chains = 0;                  ///< Σ E
  double data_squared = 0, chains_squared = 0;  ///< Σ E²

  EnergySums& operator+=(const EnergySums& other);
};

/// The contrastive objective: mean E(data) − mean E(chains) + λ·[mean E(data)² + mean E(chains)²],
/// the gradient of −log p (Karimi, Xie, Li, eq. 3) without a factor 1/T, plus the energy penalty of
/// Du and Mordatch (arXiv 1903.08689, section 3.3). The means are over all ranks: `batch` data
/// samples and `active` chains.
class ContrastiveObjective {
 public:
  /// `network`, which must outlive it, on `device`.
  ContrastiveObjective(const Config& config, const Network& network, Precision precision,
                       at::Device device);

  /// Takes over the network's parameters: once for each weight update, before add_up().
  void load();

  /// Writes to `gradient` [P] this rank's share of the gradient with respect to the parameters:
  /// that of `data` and `chains` [n, state shape], which must not be empty.
  EnergySums add_up(const at::Tensor& data, const at::Tensor& chains, at::Tensor gradient);

 private:
  const Network& network_;
  std::unique_ptr<WeightGradient> gradient_;
  std::vector<at::Tensor> parameters_, weights_;  // as load() found them; weights by parameters
  double penalty_, batch_, active_;
};

}  // namespace stanley
