#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <utility>
#include <vector>

#include "config/config.hpp"
#include "parallel/communicator.hpp"
#include "run/activity.hpp"
#include "run/metrics.hpp"
#include "run/stopwatch.hpp"
#include "sampler/transition.hpp"
#include "train/denoising.hpp"
#include "train/objective.hpp"

namespace stanley {

/// Probes of the energy of plain noise, uniform in the box, for each shard: enough for a curve, too
/// few to cost.
constexpr std::int64_t noise_probes_per_shard = 4;

/// Samples of each shard's data batch where the energy's gradient is told of: on iterations with a
/// line in the log, and one gradient each, against K of each chain.
constexpr std::int64_t data_probes_per_shard = 4;

/// Keeps the account of one iteration beside its steps: tells the watchdog which phase this rank is
/// in, times the phases, and fills the iteration's record.
class Account {
 public:
  /// `columns`: what the transition tells of the chains.
  Account(const Config& config, const std::vector<Column>& columns, Activity& activity,
          at::Device device)
      : config_(config), columns_(columns), activity_(activity), device_(device) {}

  /// Ends the phase before and begins the one that the watchdog knows by this name, whose seconds
  /// add to this column. The chains' phase lasts until the device has moved them.
  void enter(const char* phase, double IterationRecord::*seconds);

  /// The active chains' states before they move, [n, state shape]: copied.
  void chains_start(const at::Tensor& state) { before_ = state.clone(); }
  /// As Transition::advance() returns it.
  void chains_move(at::Tensor statistics) { statistics_ = std::move(statistics); }
  /// Sums over this rank's states: data, chains, and the probes of plain noise. `counted` chains of
  /// all ranks are in them.
  void energies(const EnergySums& sums, double counted, double noise);
  /// Σ|∇E|² over this rank's probes of the data, and their elements over all ranks.
  void data_gradients(double squares, double elements);
  /// Of this rank's samples.
  void denoising(const NoiseSquares& squares) { noise_ = squares; }
  /// Collective, in the reduction's phase. Adds up what the ranks saw: energies and chain moves as
  /// told before; the active chains' states [n, state shape] and ages after their steps; how many
  /// of them restarted.
  void summarize(const at::Tensor& after, const std::vector<std::int64_t>& ages,
                 std::int64_t restarts, Communicator& communicator);

  /// The record of the iteration that is the `finished`-th, but for what the trainer alone knows.
  IterationRecord close(std::int64_t finished);

 private:
  void end_phase();
  void name_statistics();
  void record_temperatures();

  const Config& config_;
  const std::vector<Column>& columns_;
  Activity& activity_;
  at::Device device_;
  Stopwatch total_, watch_;
  double IterationRecord::*seconds_ = nullptr;  // where those of the present phase go
  at::Tensor before_;
  at::Tensor statistics_;
  std::vector<double> told_;      // sums of them, by column
  std::vector<double> products_;  // of those with an error, as products_of() has them
  double probed_elements_ = 0, counted_ = 0;
  EnergySums energies_;
  NoiseSquares noise_;
  IterationRecord record_;  // until they are summarised, its means are sums over this rank's states
};

}  // namespace stanley
