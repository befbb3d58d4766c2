#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "config/config.hpp"
#include "random/random.hpp"
#include "sampler/transition.hpp"

namespace stanley {

/// A state of each of n chains, and what a proposal takes of it there; d elements each.
struct Place {
  at::Tensor state;        ///< [n, d] float32
  at::Tensor energy{};     ///< [n] float64
  at::Tensor gradient{};   ///< ∇E [n, d]; undefined where the proposal takes none
  at::Tensor curvature{};  ///< ∇²E·v [n, d] for the step's v; undefined likewise
};

/// Steps' sizes of each chain, [n, 1] float32.
struct StepScale {
  at::Tensor step_size;    ///< α
  at::Tensor temperature;  ///< T
  at::Tensor deviation;    ///< σ = √(αT)
  double reach{0};         ///< so far from its mean no chain's normal number of deviation σ lies
};

/// What one step has of its own.
struct StepDraw {
  const StepScale& scale;
  at::Tensor normals;     ///< ξ [n, d]
  at::Tensor signs{};     ///< v = ±1 [n, d], the same for the way there and back, or undefined
  at::Tensor uniforms{};  ///< [n, d] in (0, 1), or undefined
};

/// Where a chain step may lead: a law q(z′ | z) that has noise.
class Proposal {
 public:
  virtual ~Proposal() = default;

  virtual bool takes_gradient() const { return true; }
  virtual bool takes_signs() const { return false; }  ///< and the curvature along them
  virtual bool takes_uniforms() const { return false; }

  /// z′ [n, d] of the law at `here`: without walls.
  virtual at::Tensor propose(const Place& here, const StepDraw& draw) = 0;

  /// log q(here | there) − log q(there | here) [n] float64, of the laws folded at the walls.
  virtual at::Tensor log_ratio(const Place& here, const Place& there, const StepDraw& draw) = 0;

  /// What it keeps of the chains; each step is begun with the memory that they have.
  virtual std::vector<Memory> memory() const { return {}; }
  virtual void begin(const Place&, std::vector<at::Tensor>& /*memory*/, bool /*adapting*/) {}
};

/// That of the configuration: langevin, stanley, tamed, preconditioned_langevin, barker or
/// random_walk.
std::unique_ptr<Proposal> make_proposal(const SamplerConfig& config);

/// Barker's proposal (Livingstone and Zanella, arXiv 1908.11812): a normal step of each element,
/// turned round with probability 1 − 1/(1 + exp(−w·∂E/T)).
std::unique_ptr<Proposal> make_barker_proposal(const SamplerConfig& config);

}  // namespace stanley
