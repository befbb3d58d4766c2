#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "config/config.hpp"
#include "energy/gradient_engine.hpp"
#include "sampler/pieces.hpp"
#include "train/objective.hpp"

namespace stanley {

/// Samples without noise and with it, [n, state shape] each, on one device.
struct NoisedSamples {
  at::Tensor clean, noised;
  std::vector<double> deviations;  ///< [n]: σᵢ of each one's noise, before the box
};

/// The squared noise of some samples, each as a share of its σᵢ²: Σ ‖x̃ − x‖²/σᵢ², and what a step
/// along the gradient leaves of it.
struct NoiseSquares {
  double before = 0, left = 0;
};

/// Denoising score matching (Vincent, 2011) at noises of several strengths (Li, Chen and Sommer,
/// arXiv 1910.07762): the objective's term
///   w·T/2 · Σᵢ (σ_d/σᵢ)²·‖σ_d·∇E(x̃ᵢ)/T − (x̃ᵢ − xᵢ)/σ_d‖² / batch,
/// which asks that x̃ − (σ_d²/T)·∇E(x̃), Tweedie's step, be the sample without noise: so it is where
/// exp(−E/T) is the law of data with noise σ_d, `data.noise`. It teaches the energy to be steep
/// across the data, which the chains of one iteration tell only here and there.
///
/// Its gradient with respect to the weights needs no second derivatives: it is that of a difference
/// of energies along the residual (finite-difference score matching, Pang et al., arXiv
/// 2007.03317).
class DenoisingTerm {
 public:
  explicit DenoisingTerm(const Config& config);

  bool used() const { return weight_ > 0; }

  /// σ of positions first … first+count−1 of the global batch: from data.noise to
  /// objective.denoising_noise in equal ratios.
  std::vector<double> deviations(std::int64_t first, std::int64_t count) const;

  /// The two states on either side of each noised sample, [2n, state shape], those of one sample
  /// behind each other, and the factors of their energies whose sum has the term's gradient.
  /// `squares`: of these samples.
  WeightedStates pairs(GradientEngine& engine, const NoisedSamples& samples, const Pieces& pieces,
                       NoiseSquares& squares) const;

 private:
  double weight_, temperature_, noise_, largest_noise_;
  std::int64_t batch_;
};

}  // namespace stanley
