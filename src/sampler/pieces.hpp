#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>

#include "energy/gradient_engine.hpp"
#include "sampler/transition.hpp"

namespace stanley {

/// How many states an engine gets at a time: its memory must hold them and all that it computes of
/// them, however many chains there are.
struct Pieces {
  std::int64_t most = 1;
  /// Each so many states are cut alike: where numbers depend on the batch, they then don't depend
  /// on how shards are dealt over ranks. 0: all states are one group.
  std::int64_t group = 0;

  /// Calls piece(first, count) for neighbouring parts of `states` states; none is larger than the
  /// first one.
  void for_each(std::int64_t states,
                const std::function<void(std::int64_t, std::int64_t)>& piece) const;
};

/// How many states of `dimension` elements have room where a training moves `active` at a time on
/// each rank: so many, or a few where those are fewer still. A CPU's engines keep little of each
/// state but want enough of them for all threads.
std::int64_t states_at_once(std::int64_t active, std::int64_t dimension, at::Device device);

/// A transition that moves the pieces of a batch one after the other. `make` makes the ones that do
/// the work.
std::unique_ptr<Transition> make_piecewise_transition(
    const Pieces& pieces, const std::function<std::unique_ptr<Transition>()>& make);

/// Energies of n points, in pieces: [n] float64, on their device.
at::Tensor energies_of(GradientEngine& engine, const Points& points, const Pieces& pieces);

/// ∇E at n states without a condition, in pieces: like the states.
at::Tensor gradients_of(GradientEngine& engine, const at::Tensor& states, const Pieces& pieces);

}  // namespace stanley
