#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "config/config.hpp"
#include "parallel/communicator.hpp"
#include "sampler/pieces.hpp"
#include "sampler/thermometer.hpp"
#include "sampler/transition.hpp"
#include "sampling/adaptation.hpp"
#include "sampling/draw_block.hpp"
#include "sampling/trained_energy.hpp"
#include "storage/checkpoint.hpp"

namespace stanley {

/// What chains told in some steps: sums over all chains of all ranks, in the order of the chains,
/// so that no bit depends on the ranks.
struct ChainsTold {
  double acceptance = 0;    ///< share of steps
  Ratio temperature{0, 0};  ///< under exp(−E/T), and its standard error over chains
  double chain_rounds = 0;  ///< what was added up; 0: nothing
};

/// This rank's chains on their way: warm-up and draws, round by round. A round is what lies between
/// two draws, or as many steps of the warm-up; the last one of that may be shorter.
class SampledChains {
 public:
  /// What it refers to must outlive it. `stepped` is told of each chain step.
  SampledChains(const Config& config, TrainedEnergy& energy, const Pieces& pieces,
                const RankChains& rows, at::Device device, Communicator& communicator,
                std::function<void()> stepped);

  ChainBatch& chains() { return chains_; }

  /// Collective. Moves the chains by a round. Errors: as the transition's, on all ranks.
  void move();

  std::int64_t steps() const { return steps_; }  ///< done, the warm-up's too
  bool warming_up() const { return steps_ < config_.sampling.warm_up; }
  /// In the warm-up: no step is corrected yet.
  bool unadjusted() const { return unadjusted_until_ < 0; }
  /// Chain steps that were not corrected, of those of a warm-up that began so.
  std::int64_t unadjusted_until() const { return unadjusted_until_; }
  /// Of this rank's chains in the last round [n] float64.
  const at::Tensor& acceptance() const { return acceptance_; }
  /// Evaluations of the gradient for each chain since the warm-up; 0: the transition takes none.
  double gradients() const;

  /// Collective. Since the last call, and since the warm-up.
  ChainsTold told_lately();
  ChainsTold told();
  /// Collective. α of each shard after the warm-up; the configuration's alone where none adapts.
  std::vector<double> step_sizes();

  /// What a checkpoint keeps, in place.
  std::vector<ArrayView> arrays();
  void add_to(Progress& progress) const;
  /// Where arrays() were filled: goes on from there.
  void restore(const Progress& progress);

 private:
  using Sums = std::vector<std::array<double, 4>>;  // of each chain: acceptance, two, rounds

  void use_step_sizes(const std::vector<double>& sizes);
  void end_warm_up();
  void move_adapting(std::int64_t steps);
  void take_in(const Transition& transition, const at::Tensor& statistics, std::int64_t steps);
  std::vector<double> shard_means() const;
  ChainsTold told_by(const Sums& sums);
  bool near_law();

  const Config& config_;
  TrainedEnergy& energy_;
  RankChains rows_;
  Communicator& communicator_;
  ChainBatch chains_;
  std::unique_ptr<Transition> corrected_, free_;  // the configuration's; without its correction
  std::optional<StepAdaptation> adaptation_;
  std::int64_t steps_ = 0, unadjusted_until_ = 0;
  at::Tensor acceptance_;
  Sums all_, lately_, round_;
};

}  // namespace stanley
