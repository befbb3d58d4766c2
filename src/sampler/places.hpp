#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "energy/gradient_engine.hpp"
#include "sampler/proposal.hpp"

namespace stanley {

// What corrected transitions share.

/// Random numbers of chain steps. Those of one step that are not its normals are drawn at other
/// steps, far beyond all that a run reaches, so that one key serves all of a transition.
class StepNumbers {
 public:
  explicit StepNumbers(random::Key key) : key_(key) {}

  /// Of the chains `ids` [n]: [n, d] float32.
  at::Tensor normals(const at::Tensor& ids, std::uint64_t step, std::int64_t dimension) const;
  at::Tensor uniforms(const at::Tensor& ids, std::uint64_t step, std::int64_t dimension) const;
  at::Tensor signs(const at::Tensor& ids, std::uint64_t step, std::int64_t dimension) const;
  /// log u [n] float64 of the decision whether a chain accepts, u of 46 bits.
  at::Tensor log_uniforms(const at::Tensor& ids, std::uint64_t step) const;
  /// Uniform in (−1, 1), [n, 1]: what a trajectory's step is jittered by.
  at::Tensor jitter(const at::Tensor& ids, std::uint64_t step) const;

 private:
  random::Key key_;
};

/// Computes energies and gradients of chains' states for transitions.
class Places {
 public:
  /// `condition`: of the chains, or undefined.
  Places(GradientEngine& engine, const ChainBatch& batch, bool gradient, bool curvature)
      : engine_(engine), batch_(batch), gradient_(gradient), curvature_(curvature) {}

  /// The chains at these states [n, d].
  Place at(const at::Tensor& state) const;
  /// Fills in what changes with the step's v.
  void look_along(Place& place, const at::Tensor& signs) const;
  /// Where a chain accepts [n], `there`, else `here`; to `here`.
  void move(Place& here, const Place& there, const at::Tensor& accepted) const;

 private:
  at::Tensor shaped(const at::Tensor& rows) const { return rows.view(batch_.state.sizes()); }

  GradientEngine& engine_;
  const ChainBatch& batch_;
  bool gradient_, curvature_;
};

/// Throws Error(configuration) where rounding errors of these energies [n] are more than 0.01 T:
/// decisions would follow them, and the law would not be exp(−E/T).
void check_precision(const GradientEngine& engine, const at::Tensor& energy,
                     const StepScale& scale);

/// What corrected transitions tell: the share of accepted steps and the length of the first one;
/// where they take gradients, also |∇E| and the thermometer's sums (kernels/chain_rules.hpp, law)
/// at the chains' places before they move.
const std::vector<Column>& told_columns(bool with_gradient);

/// The last five of those columns, [5, n] float64.
at::Tensor told_of(const Place& place, const SamplerConfig& config);

/// Root mean square over the elements of each row: [n, d] -> [n] float64.
at::Tensor lengths_of(const at::Tensor& moves);

/// The chains' own steps, or those of the configuration.
StepScale scale_of(const SamplerConfig& config, const ChainBatch& batch);

}  // namespace stanley
