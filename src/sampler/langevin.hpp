#pragma once

#include <functional>
#include <memory>

#include "sampler/transition.hpp"

namespace stanley {

/// z ← box(z − (α/2)·γ∘∇E(z) + σ·√γ∘ξ): STANLEY (Karimi, Xie, Li, arXiv 2310.12667, algorithm 1),
/// Langevin dynamics (γ = 1) and gradient descent (γ = 1, σ = 0).
/// γ = th/max(th, |∇E|), where th is a number or each chain's order statistic of |∇E|, taken at
/// every state or held for all the steps of a call (`refresh`).
std::unique_ptr<Transition> make_langevin_transition(const SamplerConfig& config, random::Key key,
                                                     std::function<void()> stepped);

}  // namespace stanley
