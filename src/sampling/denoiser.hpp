#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "config/config.hpp"
#include "data/dataset.hpp"
#include "energy/gradient_engine.hpp"
#include "sampler/pieces.hpp"
#include "sampler/transition.hpp"

namespace stanley {

/// The c of x − c·∇E(x) that takes most noise off noised training data: the least squares of
/// ‖x̃ − c·∇E(x̃) − x‖² over x̃ = box(x + data.noise·ξ).
struct FittedStep {
  double factor = 0;   ///< c
  double removed = 0;  ///< share of the squared error ‖x̃ − x‖² that it takes off
  double tweedie = 0;  ///< σ_d²/T, which c is where exp(−E/T) is the law of the noised data
  double score = 0;    ///< rms(∇E)/T there, times σ_d: 1 under that law
};

/// Of the first samples of the training data. Each rank computes all of it, in pieces of one size,
/// so that it does not depend on how many there are.
FittedStep fit_step(GradientEngine& engine, const Dataset& training, const Config& config,
                    std::int64_t most_states, at::Device device);

/// Takes the noise of their sampler off states, as `samples.denoise` says.
class Denoiser {
 public:
  explicit Denoiser(const Config& config) : config_(config) {}

  /// Whether it is to be fitted before it is used.
  bool fitted() const { return config_.samples.denoise.fitted; }

  /// Fits the step to the energy as it is now. Returns why it is of no use, or nothing: where it
  /// takes off less than a fifth of the squared error, states stay as they are.
  std::optional<std::string> fit(GradientEngine& engine, const Dataset& training,
                                 std::int64_t most_states, at::Device device);

  /// Moves the states of the batch, which the engine must have room for, in place.
  void apply(GradientEngine& engine, ChainBatch& batch) const;

  /// States [n, state shape] float32 and energies [n] float64 of chains as draws tell them, on the
  /// CPU; the chains stay as they are.
  std::pair<at::Tensor, at::Tensor> draws(GradientEngine& engine, const ChainBatch& chains,
                                          const Pieces& pieces) const;

  /// What it does to states, in words; empty where nothing.
  std::string text() const;

 private:
  Config config_;
  std::optional<FittedStep> step_;
};

}  // namespace stanley
