#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "config/config.hpp"
#include "data/dataset.hpp"
#include "parallel/session.hpp"
#include "run/activity.hpp"
#include "run/record.hpp"
#include "sampling/setup.hpp"
#include "storage/checkpoint.hpp"
#include "train/chain_motion.hpp"
#include "train/guard.hpp"
#include "train/start.hpp"
#include "train/trainer.hpp"

namespace stanley {

/// What learns: the trainer and its guard on the device and the data that they share. A roll-back
/// and each stage make both anew; a stage reads the data in its own size.
class Learner {
 public:
  /// Collective. Chooses the device and reads the data, of the stage that the start is in. What it
  /// refers to must outlive it. Errors: as set_up() and Dataset::load(); configuration where data
  /// or energy file are not those that the start's checkpoint was written with; as
  /// check_stages_fit().
  Learner(const Config& config, const Start& start, Session& session, Activity& activity);

  /// Collective. Makes a trainer of this attempt: at a new run's beginning or, with a checkpoint,
  /// at its state, in the stage that it is of. Returns a sentence where a schedule ends elsewhere
  /// than run.iterations suggests; else nothing. Errors: input_output for the checkpoint; what an
  /// energy of the user's says.
  std::string take_up(const CheckpointHeader* header, Sharding sharding, std::uint32_t attempt,
                      const FileOptions& options);
  /// Collective. Begins the next stage where the checkpoint ended one. Errors: as take_up(), and
  /// configuration where the data are others by now.
  void begin_stage(const CheckpointHeader& header, std::uint32_t attempt,
                   const FileOptions& options);

  /// The present stage, from 0, and its configuration: without stages, the run's.
  std::size_t stage() const { return stage_; }
  const Config& config() const { return of_stage_; }
  const ComputeSetup& setup() const { return setup_; }
  const Dataset& dataset() const { return dataset_; }
  const Reducer& reducer() const { return *reducer_; }
  Trainer& trainer() { return *trainer_; }
  Guard& guard() { return *guard_; }
  std::int64_t iteration() const { return trainer_->iteration(); }
  const ChainScale& chain_scale() const { return scale_; }
  /// What run.json says of this start.
  StartRecord describe(const std::string& resumed_from) const;

 private:
  void enter(std::size_t stage);
  void make_trainer(std::uint32_t attempt);
  std::string restore(const CheckpointHeader& header, Sharding sharding,
                      const FileOptions& options);

  const Config& config_;  // of the run
  Session& session_;
  Activity& activity_;
  ComputeSetup setup_;
  std::size_t stage_ = 0;
  Config of_stage_;
  Dataset dataset_;
  ChainScale scale_;
  std::unique_ptr<Reducer> reducer_;
  std::unique_ptr<Trainer> trainer_;
  std::optional<Guard> guard_;
};

}  // namespace stanley
