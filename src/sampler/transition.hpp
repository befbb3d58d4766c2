#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>

#include "config/config.hpp"
#include "energy/gradient_engine.hpp"
#include "random/random.hpp"

namespace stanley {

/// The chains that move together.
struct ChainBatch {
  at::Tensor state;  ///< [n, state shape] float32, contiguous; moved in place
  at::Tensor ids;    ///< [n] int64, global chain ids, on the device of `state`
};

/// What the chains looked like at the first of the steps: sums over chains, to be added up over
/// ranks and divided by `chains` at the end. Quantiles are those of each chain's own elements.
struct ChainRecord {
  double chains = 0;
  double energy = 0;
  double gradient_quantile[3] = {};  ///< 0.1, 0.5, 0.9 of |∇E|
  double gain_quantile[3] = {};      ///< 0.1, 0.5, 0.9 of γ
  double gain_below_one = 0;         ///< share of γ < 1
  double drift = 0, gradient = 0;  ///< ‖γ∘∇E‖₁ and ‖∇E‖₁: their ratio is the weighted share
  double acceptance = 0;  ///< share of accepted moves; 1 without Metropolis
};

/// The same before the sums, on the chains' device, where it may still be in the making.
struct ChainStatistics {
  at::Tensor of_chains;  ///< [10, n] float32: from `energy` to `gradient` in order

  /// Waits for the device. The sums are in the chains' order.
  ChainRecord sum() const;
};

/// A family of Markov transitions. One object serves one rank; it keeps its buffers between calls.
class Transition {
 public:
  virtual ~Transition() = default;

  /// Moves every chain of the batch by `steps` chain steps. Step k draws its random numbers at
  /// first_step + k. On a GPU the work is queued and not waited for.
  virtual ChainStatistics advance(GradientEngine& engine, ChainBatch& batch,
                                  std::uint64_t first_step, std::int64_t steps) = 0;
};

/// The transition that the configuration names; `key` selects the chains' random numbers; `stepped`
/// is told of each chain step.
std::unique_ptr<Transition> make_transition(const SamplerConfig& config, random::Key key,
                                            std::function<void()> stepped = {});

/// σ: the standard deviation of one step's noise.
float noise_scale(const SamplerConfig& config);

}  // namespace stanley
