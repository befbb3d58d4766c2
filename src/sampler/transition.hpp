#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "config/config.hpp"
#include "energy/gradient_engine.hpp"
#include "random/random.hpp"

namespace stanley {

/// The chains that move together.
struct ChainBatch {
  at::Tensor state;                  ///< [n, state shape] float32, contiguous; moved in place
  at::Tensor ids;                    ///< [n] int64, global chain ids, on the device of `state`
  at::Tensor condition{};            ///< [n] int64; undefined where the energy has none
  std::vector<at::Tensor> memory{};  ///< as Transition::memory() lists it; changed in place
  at::Tensor step_size{};    ///< α of each chain [n] float32; undefined: the configuration's
  at::Tensor temperature{};  ///< T of each chain [n] float32; undefined likewise

  Points points() const { return {state, condition}; }
  /// The chains from `first` on: views of the same memory.
  ChainBatch narrow(std::int64_t first, std::int64_t count) const;
  /// Copies of the chains in these rows, [k] int64 on the device.
  ChainBatch select(const at::Tensor& rows) const;
  /// Puts all but the ids of `other` into these rows.
  void put(const at::Tensor& rows, const ChainBatch& other) const;
};

/// Chains without condition and memory, whose ids begin at `first`: their states are zeros.
ChainBatch zero_chains(std::int64_t first, std::int64_t count, const StateShape& state_shape,
                       at::Device device);

/// What a transition keeps of each chain between calls: a number, or as many as a state has. The
/// bank holds it, a restart sets it to `start`, and checkpoints store it as "chains/NAME".
struct Memory {
  std::string name;
  at::ScalarType type = at::kFloat;  ///< or int64
  bool like_state = false;
  double start = 0;
};

/// A statistic of each chain, by its name in metrics.csv. What is recorded is its mean over the
/// chains, or, with a weight, its sum over that of the column there.
struct Column {
  std::string name;
  std::optional<std::size_t> weight{};
  /// Whether NAME_error, the standard error of that ratio, is recorded too
  /// (sampler/thermometer.hpp).
  bool with_error = false;
};

/// A family of Markov transitions. One object serves one rank; it keeps its buffers between calls,
/// but nothing of the chains: what must outlive a call is memory.
class Transition {
 public:
  virtual ~Transition() = default;

  virtual std::vector<Memory> memory() const { return {}; }

  /// The rows of what advance() returns. "acceptance_rate" is one of them.
  virtual const std::vector<Column>& columns() const = 0;

  /// Moves every chain of the batch by `steps` chain steps. Step k draws its random numbers at
  /// first_step + k. Returns [columns, n] float64 on the chains' device. On a GPU the work is
  /// queued and not waited for.
  virtual at::Tensor advance(GradientEngine& engine, ChainBatch& batch, std::uint64_t first_step,
                             std::int64_t steps) = 0;

  /// Gradients of each chain that advance() takes for so many steps.
  virtual std::int64_t gradients(std::int64_t steps) const = 0;

  /// Ends the adaptation of what adapts to the chains: from here on a corrected law is exact.
  virtual void freeze() {}
};

/// What chains with these states [n, state shape] remember when they start.
std::vector<at::Tensor> start_memory(const std::vector<Memory>& kept, const at::Tensor& state);

/// The number of the column of this name. Throws std::out_of_range.
std::size_t column_number(const Transition& transition, const std::string& name);

/// Sums over the chains, [columns, n] -> one for each column, in the chains' order. Waits for the
/// device.
std::vector<double> sums_of(const at::Tensor& statistics);

/// Σa², Σab and Σb² over the chains for each column with an error, a, and its weight, b.
std::vector<double> products_of(const at::Tensor& statistics, const std::vector<Column>& columns);

/// The transition that the configuration names; `key` selects the chains' random numbers; `stepped`
/// is told of each chain step.
std::unique_ptr<Transition> make_transition(const SamplerConfig& config, random::Key key,
                                            std::function<void()> stepped = {});

/// STANLEY, Langevin dynamics and gradient descent, uncorrected.
std::unique_ptr<Transition> make_langevin_transition(const SamplerConfig& config, random::Key key,
                                                     std::function<void()> stepped);
/// Steps of a proposal (sampler/proposal.hpp), with the Metropolis-Hastings correction or without.
std::unique_ptr<Transition> make_proposed_transition(const SamplerConfig& config, random::Key key,
                                                     std::function<void()> stepped);
std::unique_ptr<Transition> make_hmc_transition(const SamplerConfig& config, random::Key key,
                                                std::function<void()> stepped);

/// σ: the standard deviation of one step's noise.
float noise_scale(const SamplerConfig& config);

}  // namespace stanley
