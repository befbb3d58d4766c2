#include "train/learner.hpp"

#include <torch/version.h>

#include "config/error.hpp"
#include "config/stages.hpp"
#include "parallel/agree.hpp"
#include "parallel/device.hpp"
#include "sampling/stored_config.hpp"
#include "storage/commit.hpp"
#include "train/resume.hpp"
#include "train/stage_end.hpp"

namespace stanley {
namespace {

ComputeSetup set_up_for(const Start& start, const Config& config, Session& session) {
  try {
    return set_up(config, session);
  } catch (const Error& error) {
    if (!start.kept_on_gpu) throw;
    Error with_reason(
        error.code,
        std::string("the run began on GPUs, where run.device: auto keeps it: ") + error.what());
    with_reason.agreed = error.agreed;
    with_reason.rank = error.rank;
    throw with_reason;
  }
}

}  // namespace

Learner::Learner(const Config& config, const Start& start, Session& session, Activity& activity)
    : config_(config),
      session_(session),
      activity_(activity),
      setup_(set_up_for(start, config, session)) {
  if (start.header) check_energy_file(*start.header, config_, setup_.energy_file.digest);
  check_stages_fit(config_, session_.world());
  enter(start.header ? stage_at(config_, start.header->iteration) : 0);
  if (!start.anew()) check_data(*start.header, dataset_.file_digest(), config_.data);
  reducer_ = reducer_for(config_, setup_, session_);
}

/// Collective. Reads the data as this stage has them.
void Learner::enter(std::size_t stage) {
  if (dataset_.size() > 0 && stage == stage_) return;
  stage_ = stage;
  of_stage_ = stage_config(config_, stage);
  activity_.enter("reading the data");
  dataset_ = Dataset::load(of_stage_.data, config_.run.seed, session_.world(),
                           [this] { activity_.advance(); });
  scale_ = {.spread = dataset_.spread(),
            .saturation = config_.sampler.box ? dataset_.share_outside(*config_.sampler.box) : 0,
            .dimension = dataset_.dimension(),
            .active_chains = of_stage_.chains.active};
}

/// Collective. Of the present stage, and a guard beside it.
void Learner::make_trainer(std::uint32_t attempt) {
  activity_.enter("starting the chains");
  trainer_ = std::make_unique<Trainer>(
      of_stage_, dataset_, TrainerContext{session_.world(), *reducer_, setup_, activity_}, attempt);
  guard_.emplace(config_.guard, scale_);
}

std::string Learner::take_up(const CheckpointHeader* header, Sharding sharding,
                             std::uint32_t attempt, const FileOptions& options) {
  trainer_.reset();  // two banks may not have room, and it refers to the data
  enter(header == nullptr ? 0 : stage_at(config_, header->iteration));
  make_trainer(attempt);
  if (header != nullptr) return restore(*header, sharding, options);
  trainer_->begin();
  agree(session_.world(), [&] { trainer_->draws(1); });  // before any file is written
  return "";
}

void Learner::begin_stage(const CheckpointHeader& header, std::uint32_t attempt,
                          const FileOptions& options) {
  trainer_.reset();
  const std::size_t ended = stage_at(config_, header.iteration);
  enter(ended + 1);
  check_data(header, dataset_.file_digest(), config_.data);
  const StageEnd before =
      read_stage_end(header, stage_config(config_, ended), progress_of(header, config_, false),
                     Sharding::same, session_.world(), options);
  make_trainer(attempt);
  trainer_->begin_stage(before);
  agree(session_.world(), [&] { trainer_->draws(1); });  // before any is moved
}

std::string Learner::restore(const CheckpointHeader& header, Sharding sharding,
                             const FileOptions& options) {
  const Progress progress = progress_of(header, config_, sharding == Sharding::any);
  {
    trainer_->expect(progress);
    std::vector<ArrayView> arrays = trainer_->arrays();
    // What the transition, or the release, that wrote the checkpoint did not keep begins anew.
    std::erase_if(arrays, [&](const ArrayView& one) {
      return trainer_->bank().is_memory(one.name) && header.find(one.name) == nullptr;
    });
    Filling filling(std::move(arrays));
    check_arrays(header, filling.arrays(), sharding);
    activity_.enter("reading a checkpoint");
    read_checkpoint(session_.world(), header, filling.arrays(), sharding, options);
    filling.finish();
  }
  trainer_->restore(progress);
  // A branch with other data, another objective or optimiser has bands of its own.
  if (learns_alike(header, of_stage_)) guard_->restore(header.progress);
  return moved_end_note(config_, progress);
}

StartRecord Learner::describe(const std::string& resumed_from) const {
  return {.iteration = iteration(),
          .ranks = session_.size(),
          .hosts = session_.hosts(),
          .devices = {to_string(setup_.device)},
          .processor = processor_name(),
          .instruction_set = setup_.instruction_set,
          .precision = to_string(setup_.precision),
          .reduction = reducer_->description(),
          .engine = trainer_->engine().description(),
          .resumed_from = resumed_from,
          .libraries = {{"mpi", session_.library_version()},
                        {"hdf5", hdf5_version()},
                        {"libtorch", TORCH_VERSION}},
          .threads = setup_.threads};
}

}  // namespace stanley
