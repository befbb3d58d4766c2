#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "config/config.hpp"
#include "energy/network.hpp"
#include "energy/weight_gradient.hpp"
#include "parallel/communicator.hpp"

namespace stanley {

/// Sums over the samples of one rank, to be added over ranks.
struct EnergySums {
  double data = 0, chains = 0;                  ///< Σ E; of the chains that count
  double data_squared = 0, chains_squared = 0;  ///< Σ E²

  EnergySums& operator+=(const EnergySums& other);
};

/// The chains that the loss counts: those past `chains.burn_in`, or all where none is.
struct CountedChains {
  at::Tensor mine;  ///< [n] float32, 1 for each of this rank's that counts, else 0
  double all = 0;   ///< how many of all ranks

  /// `count` chains of this rank, of `all`.
  static CountedChains every_one(std::int64_t count, double all, at::Device device);
};

/// Collective where there is a burn-in. Of this rank's chains with these ages.
CountedChains count_chains(const std::vector<std::int64_t>& ages, const ChainsConfig& config,
                           Communicator& communicator, at::Device device);

/// States whose energies stand in the loss with a factor each.
struct WeightedStates {
  at::Tensor states;   ///< [n, state shape]; undefined: none
  at::Tensor factors;  ///< [n] float32
};

/// The contrastive objective: mean E(data) − mean E(chains) + λ·[mean E(data)² + mean E(chains)²],
/// the gradient of −log p (Karimi, Xie, Li, eq. 3) without a factor 1/T, plus the energy penalty of
/// Du and Mordatch (arXiv 1903.08689, section 3.3). The means are over all ranks: `batch` data
/// samples and the chains that count.
class ContrastiveObjective {
 public:
  /// `network`, which must outlive it, on `device`.
  ContrastiveObjective(const Config& config, const Network& network, Precision precision,
                       at::Device device);

  /// Takes over the network's parameters: once for each weight update, before add_up().
  void load();

  /// Writes to `gradients` [parts, P] this rank's share of the gradient with respect to the
  /// parameters: that of each of as many equal parts of `data`, of `chains` [n, state shape] and of
  /// `others`, none of which may be empty. A part's numbers do not depend on the others.
  EnergySums add_up(const at::Tensor& data, const at::Tensor& chains, const CountedChains& counted,
                    const WeightedStates& others, at::Tensor gradients);

  /// Threads that have work on so many parts, of so many states in all.
  int working_threads(std::int64_t parts, std::int64_t states) const {
    return gradient_->working_threads(parts, states / parts);
  }

 private:
  void store(const std::vector<at::Tensor>& of_weights, at::Tensor gradient) const;

  const Network& network_;
  std::unique_ptr<WeightGradient> gradient_;
  std::vector<at::Tensor> parameters_, weights_;  // as load() found them; weights by parameters
  double penalty_, batch_;
};

}  // namespace stanley
