#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <utility>

#include "chains/bank.hpp"
#include "config/config.hpp"
#include "parallel/communicator.hpp"
#include "run/activity.hpp"
#include "run/metrics.hpp"
#include "run/stopwatch.hpp"
#include "sampler/transition.hpp"
#include "train/summary.hpp"

namespace stanley {

enum class Phase { chains, weight_gradient, reduction, weight_update };

/// Keeps the account of one iteration beside its steps: tells the watchdog which phase this rank is
/// in, times the phases, and notes what the iteration's record says.
class Account {
 public:
  Account(const Config& config, Activity& activity, at::Device device)
      : config_(config), activity_(activity), device_(device) {}

  /// Ends the phase before. The chains' phase lasts until the device has moved them.
  void enter(Phase phase);

  /// The active chains' states before they move, [n, state shape]: copied.
  void chains_start(const at::Tensor& state) { seen_.before = state.clone(); }
  void chains_move(ChainStatistics statistics) { statistics_ = std::move(statistics); }
  /// Sums over this rank's states; `noise` over so many probes of all ranks.
  void energies(const EnergySums& sums, double noise, std::int64_t noise_probes);
  /// Collective, in the reduction's phase. Adds up what the ranks saw.
  void summarize(const Bank& bank, const at::Tensor& moved, Communicator& communicator);
  /// Norms of the mean gradient before clipping, and of the parameters.
  void update(double gradient_norm, double parameter_norm);

  /// The record of the iteration that is the `finished`-th, but for what the trainer alone knows.
  IterationRecord close(std::int64_t finished);

 private:
  void end_phase();

  const Config& config_;
  Activity& activity_;
  at::Device device_;
  Stopwatch total_, watch_;
  std::optional<Phase> phase_;
  ChainStatistics statistics_;
  LocalSummary seen_;
  IterationRecord record_;
};

}  // namespace stanley
