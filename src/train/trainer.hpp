#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <vector>

#include "chains/bank.hpp"
#include "config/config.hpp"
#include "data/batches.hpp"
#include "data/dataset.hpp"
#include "energy/gradient_engine.hpp"
#include "energy/network.hpp"
#include "parallel/reducer.hpp"
#include "run/activity.hpp"
#include "run/metrics.hpp"
#include "sampler/pieces.hpp"
#include "sampling/setup.hpp"
#include "storage/array.hpp"
#include "storage/checkpoint.hpp"
#include "train/account.hpp"
#include "train/band.hpp"
#include "train/denoising.hpp"
#include "train/idle_threads.hpp"
#include "train/objective.hpp"
#include "train/optimizer.hpp"

namespace stanley {

/// Where a trainer computes, and with whom.
struct TrainerContext {
  Communicator& communicator;
  Reducer& reducer;
  const ComputeSetup& setup;
  Activity& activity;  ///< told which phase this rank is in
};

/// States of some chains, without the sampler's noise where that is asked for, and their energies
/// under the present weights, on the CPU.
struct DrawnStates {
  at::Tensor states;     ///< [n, state shape] float32
  at::Tensor energies;   ///< [n] float64
  std::string denoised;  ///< how, in words; empty: not
  std::string refused;   ///< why not, although it was asked for
};

/// What a stage hands on to the next one: its checkpoint at its end.
struct StageEnd {
  std::unique_ptr<Network> network;    ///< on the CPU, with its last weights
  at::Tensor states;                   ///< of this rank's chains, on the CPU
  std::vector<std::int64_t> restarts;  ///< of each
  Progress progress;
};

/// The algorithm (design §3): persistent chains, data, one network, one optimiser. It knows nothing
/// of files; its state crosses as named plain arrays.
class Trainer {
 public:
  /// Collective. A training that was rolled back `attempt` times: each brings new noise and half
  /// the learning rate. Its chains have no states before begin() or restore(). `dataset` and the
  /// context's objects must outlive it.
  Trainer(const Config& config, const Dataset& dataset, const TrainerContext& context,
          std::uint32_t attempt = 0);

  /// Gives each chain its start state: a training at iteration 0.
  void begin();

  /// Collective. One iteration: K chain steps of the active chains, one data batch, one reduction,
  /// one weight update.
  IterationRecord iterate();

  std::int64_t iteration() const { return iteration_; }

  /// The state that a checkpoint keeps, apart from progress().
  std::vector<ArrayView> arrays();
  Progress progress() const;
  /// Makes room for what arrays() of this progress has. Before they are filled.
  void expect(const Progress& progress);
  /// Takes over arrays() that were filled in place, and the progress beside them.
  void restore(const Progress& progress);
  /// Begins a stage where another one ended: takes over what it computes (grow()), its chains,
  /// enlarged, and its counters. The optimiser, the running average and the gap's statistics begin
  /// anew.
  void begin_stage(const StageEnd& before);

  /// Of its stage: without stages, of the run.
  const Config& config() const { return config_; }
  const Network& network() const { return *network_; }
  std::int64_t parameter_count() const { return optimizer_.size(); }
  const GradientEngine& engine() const { return *engine_; }
  WorkingThreads working_threads() const;
  Bank& bank() { return bank_; }
  /// Of its records, those that IterationRecord has no member for.
  std::vector<std::string> more_columns() const;
  /// This rank's first `count` chains as draws tell them.
  DrawnStates draws(std::int64_t count);
  /// Chains of the bank, group after group; no number depends on the groups beside its own.
  DrawnStates draws(const std::vector<ChainBatch>& groups);

 private:
  std::int64_t data_per_shard() const { return config_.data.batch / config_.chains.shards; }
  /// For this rank's part of a data batch.
  at::Tensor room_for_data() const;
  at::Tensor data_batch() const;
  /// What the objective's denoising adds to the loss; tells the account of it.
  WeightedStates denoising_pairs(Account& account) const;
  /// Of states of which each shard has so many.
  Pieces pieces_of(std::int64_t per_shard) const;
  /// Collective where there is a burn-in. Those of the visited chains that count `steps` later.
  CountedChains count_after(std::int64_t steps) const;
  /// Σ E over this rank's probes of plain noise.
  double energy_of_noise() const;
  /// Of each shard's part of a data batch.
  std::int64_t data_probes() const;
  /// Σ|∇E|² over this rank's probes of a data batch.
  double data_gradients(const at::Tensor& data) const;
  double rate_factor() const;
  void take_counters(const Progress& progress);
  void load_weights();
  std::int64_t gradient_parts() const;
  /// Whether numbers depend on a batch that must then not depend on the number of ranks.
  bool fixed_batches() const;

  Config config_;
  TrainerContext context_;
  std::uint32_t attempt_;
  std::int64_t schedule_end_;  ///< the iteration that schedules without an end of their own end at
  Shards shards_;
  std::unique_ptr<Network> network_;
  Optimizer optimizer_;
  ContrastiveObjective objective_;
  DenoisingTerm denoising_;
  const Dataset& dataset_;
  Batches batches_;
  StartState start_;
  std::unique_ptr<GradientEngine> engine_;
  std::unique_ptr<Transition> transition_;
  Bank bank_;
  at::Tensor parts_, gradient_;  // [parts, P] and [P]

  std::int64_t iteration_ = 0;
  std::int64_t stage_began_ = 0;  // the optimiser's bias corrections count from there
  // Counted, not computed from the iteration: a branch with other sampler.steps or another
  // data.batch goes on where its parent's noise and epochs end.
  std::int64_t chain_steps_ = 0;   // of each visit so far: K for every iteration
  std::int64_t samples_seen_ = 0;  // data samples drawn so far, over all ranks
  GapStatistics gap_;
};

}  // namespace stanley
