#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "chains/bank.hpp"
#include "evaluation/weights.hpp"
#include "sampler/pieces.hpp"
#include "sampler/transition.hpp"
#include "sampling/denoiser.hpp"

namespace stanley {

/// Chains of a trained energy that an evaluation runs by the training's own transition, each rank
/// some of them. Their noise is that of `stanley sample`. No bit depends on ranks or threads: where
/// an engine's numbers depend on the batch, fixed groups of chains move together.
class ChainRun {
 public:
  /// Collective. Chains of the ids 0 to count − 1. Errors: configuration where they are too many to
  /// be compared.
  ChainRun(SubjectEnergy& energy, std::int64_t count, Communicator& communicator);

  /// Gives the chains of these ids their start, as chains of the training start at iteration 0.
  void start(std::int64_t first, std::int64_t count, const StartState& start);
  /// The chain of id `first` + i starts where state i is.
  void start(std::int64_t first, std::int64_t count, const ReadStates& read);

  /// Collective. Moves all chains; `moved` is told now and then of the steps that were done.
  void advance(std::int64_t steps, const std::function<void(std::int64_t done)>& moved);
  std::int64_t done() const { return done_; }
  /// Collective. Takes the noise of their sampler off the states.
  void denoise(const Denoiser& denoiser);

  /// Collective. States [count, shape...] on the CPU and energies [count], the same on all ranks.
  at::Tensor states();
  std::vector<double> energies();

  /// Collective. The bytes of all that the chains are, chain after chain: their states, then each
  /// thing that their transition remembers; the same on all ranks.
  std::vector<std::uint8_t> snapshot();
  /// Goes on from a snapshot that was taken after so many steps, on any number of ranks.
  void restore(std::int64_t done, const std::vector<std::uint8_t>& snapshot);

 private:
  std::int64_t mine() const { return chains_.state.size(0); }
  void start_to_remember();
  std::vector<at::Tensor> arrays() const;
  void gather(const at::Tensor& own, std::span<float> all);

  SubjectEnergy& energy_;
  Communicator& communicator_;
  std::int64_t count_, first_ = 0, done_ = 0;
  Pieces pieces_;
  std::unique_ptr<Transition> transition_;
  ChainBatch chains_;
};

}  // namespace stanley
