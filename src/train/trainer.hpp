#pragma once

#include <ATen/core/Tensor.h>

#include <deque>
#include <memory>
#include <string_view>
#include <utility>
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
#include "storage/array.hpp"
#include "storage/checkpoint.hpp"
#include "train/idle_threads.hpp"
#include "train/objective.hpp"
#include "train/optimizer.hpp"
#include "train/summary.hpp"

namespace stanley {

/// Where a trainer computes, and with whom.
struct TrainerContext {
  Communicator& communicator;
  Reducer& reducer;
  at::Device device;
  Precision precision;             ///< of the chains' network, resolved
  Activity& activity;              ///< told which phase this rank is in
  std::string_view energy_file{};  ///< bytes of the file of energy.type torchscript
};

/// The algorithm (design §3): persistent chains, data, one network, one optimiser. It knows nothing
/// of files; its state crosses as named plain arrays.
class Trainer {
 public:
  /// Collective. A training at iteration 0, rolled back `attempt` times: each brings new noise and
  /// half the learning rate. `dataset` and the context's objects must outlive it.
  Trainer(const Config& config, const Dataset& dataset, const TrainerContext& context,
          std::uint32_t attempt = 0);

  /// Collective. One iteration: K chain steps of the active chains, one data batch, one reduction,
  /// one weight update.
  IterationRecord iterate();

  std::int64_t iteration() const { return iteration_; }

  /// The state that a checkpoint keeps, apart from progress(). On a GPU these are host copies of
  /// this moment; after filling them call restore().
  std::vector<ArrayView> arrays();
  Progress progress() const;
  /// Takes over arrays() that were filled in place, and the progress beside them.
  void restore(const Progress& progress);

  const Network& network() const { return *network_; }
  const GradientEngine& engine() const { return *engine_; }
  WorkingThreads working_threads() const;
  Bank& bank() { return bank_; }
  /// Energies of this rank's first `count` chains under the present weights, [count], on the CPU.
  at::Tensor chain_energies(std::int64_t count);

 private:
  ChainStatistics move_chains(ChainBatch& chains);
  EnergySums weight_gradient(const at::Tensor& data, const at::Tensor& chains);
  at::Tensor data_batch() const;
  double noise_energy() const;
  ChainBatch noise_probes(std::int64_t first_shard, std::int64_t shards) const;
  void load_weights();
  std::int64_t gradient_parts() const;
  at::Tensor& host(at::Tensor& tensor);

  Config config_;
  TrainerContext context_;
  std::uint32_t attempt_;
  Shards shards_;
  std::unique_ptr<Network> network_;
  Optimizer optimizer_;
  ContrastiveObjective objective_;
  Batches batches_;
  Bank bank_;
  StartState start_;
  std::unique_ptr<GradientEngine> engine_;
  std::unique_ptr<Transition> transition_;
  at::Tensor parts_, gradient_;  // [parts, P] and [P]

  std::int64_t iteration_ = 0;
  GapStatistics gap_;
  /// A GPU's tensors and their copies behind arrays(). A deque: references to elements stay.
  std::deque<std::pair<at::Tensor, at::Tensor>> host_copies_;
};

}  // namespace stanley
