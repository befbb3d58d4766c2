#include "train/learner.hpp"

#include <torch/version.h>

#include "config/error.hpp"
#include "parallel/agree.hpp"
#include "parallel/device.hpp"
#include "sampling/stored_config.hpp"
#include "storage/commit.hpp"
#include "train/resume.hpp"

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
  activity_.enter("reading the data");
  dataset_ = Dataset::load(config_.data, config_.run.seed, session_.world(),
                           [this] { activity_.advance(); });
  if (!start.anew()) check_data(*start.header, dataset_.digest(), config_.data);
  scale_ = {.spread = dataset_.spread(),
            .saturation = config_.sampler.box ? dataset_.share_outside(*config_.sampler.box) : 0,
            .dimension = dataset_.dimension(),
            .active_chains = config_.chains.active};
  reducer_ = reducer_for(config_, setup_, session_);
}

std::string Learner::take_up(const CheckpointHeader* header, Sharding sharding,
                             std::uint32_t attempt, const FileOptions& options) {
  activity_.enter("starting the chains");
  trainer_.reset();  // two banks may not have room
  trainer_ = std::make_unique<Trainer>(
      config_, dataset_, TrainerContext{session_.world(), *reducer_, setup_, activity_}, attempt);
  guard_.emplace(config_.guard, scale_);
  if (header != nullptr) return restore(*header, sharding, options);
  trainer_->begin();
  agree(session_.world(), [&] { trainer_->draws(1); });  // before any file is written
  return "";
}

std::string Learner::restore(const CheckpointHeader& header, Sharding sharding,
                             const FileOptions& options) {
  {
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
  const Progress progress = progress_of(header, config_, sharding == Sharding::any);
  trainer_->restore(progress);
  // A branch with other data, another objective or optimiser has bands of its own.
  if (learns_alike(header, config_)) guard_->restore(header.progress);
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
