#include "evaluation/weights.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <span>

#include "parallel/agree.hpp"
#include "sampling/stored_config.hpp"

namespace stanley {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t energies_at_once = 256;

/// One rank. Where the weights of draws should be: what they name, else their run's checkpoint.
std::string checkpoint_of_draws(const Subject& subject) {
  std::error_code ignored;
  std::vector<std::string> places;
  if (!subject.checkpoint.empty()) places.push_back(subject.checkpoint);
  if (subject.iteration) {
    const fs::path run = fs::path(subject.path).parent_path().parent_path();
    places.push_back(checkpoint_path((run / "checkpoints").string(), *subject.iteration));
  }
  for (const std::string& place : places) {
    if (fs::exists(place, ignored)) return place;
  }
  throw FileError(
      fmt::format("the weights of {} aren't there: {}", subject.path,
                  places.empty() ? "it names no checkpoint" : "no checkpoint " + places.front()));
}

/// Collective. The subject's own file was verified when it was opened.
CheckpointHeader header_of(const Subject& subject, Communicator& communicator) {
  CheckpointHeader header;
  if (subject.kind == "checkpoint") {
    agree(communicator, [&] { header = read_checkpoint_header(subject.path); });
    return header;
  }
  std::string path;
  on_first_rank(communicator, [&] { path = checkpoint_of_draws(subject); });
  header = verify_checkpoint(communicator, communicator.broadcast(path, 0), {});
  if (subject.iteration && *subject.iteration != header.iteration) {
    throw FileError(
        fmt::format("the weights of {} aren't there: it is of iteration {}, and {} of {}",
                    subject.path, *subject.iteration, header.path, header.iteration));
  }
  return header;
}

/// Throws Error(input_output) where the draws are of other weights than the checkpoint's: those of
/// a training by seed and configuration, those of `stanley sample` by what of the configuration its
/// options can't change, and by the weights themselves.
void check_of_one_run(const Subject& subject, const CheckpointHeader& header,
                      const std::string& code) {
  std::vector<std::string> found =
      differences(subject.config, stored_config(header).config, /*branch=*/false);
  if (subject.weights) {
    std::erase_if(found, [](const std::string& one) {
      return !one.starts_with("energy.") && !one.starts_with("objective.") &&
             !one.starts_with("optimizer.");
    });
    const std::string here = digest_of_weights(header, *subject.weights == "average", code);
    if (!subject.weights_digest.empty() && subject.weights_digest != here) {
      found.push_back(
          fmt::format("their digest is {} there and {} here", subject.weights_digest, here));
    }
  }
  if (found.empty()) return;
  throw FileError(
      fmt::format("the weights of {} aren't there: it holds draws of another run than {} "
                  "({}): give it with the run that made it",
                  subject.path, header.path, fmt::join(found, ", ")));
}

bool has_average(const CheckpointHeader& header) {
  return std::ranges::any_of(
      header.arrays, [](const StoredArray& array) { return array.name.starts_with("average/"); });
}

/// The training's configuration, on what this session has.
Config config_here(const CheckpointHeader& header, const Session& session) {
  Config config = stored_config(header).config;
  config.run.device = DeviceKind::automatic;
  config.run.threads.reset();
  config.run.reproducible = false;  // ranks may have different processors
  config.chains.shards = session.size();
  return config;
}

}  // namespace

std::int64_t SubjectEnergy::states_at_once() const {
  return std::min(energies_at_once, energy.most_states);
}

SubjectEnergy open_energy(const Subject& subject, const std::optional<std::string>& weights,
                          Session& session) {
  Communicator& world = session.world();
  const CheckpointHeader header = header_of(subject, world);
  const bool average =
      weights.value_or(subject.weights.value_or(has_average(header) ? "average" : "last")) ==
      "average";
  const Config config = config_here(header, session);
  ComputeSetup setup = set_up(config, session);
  use_threads(setup.threads, /*reproducible=*/true);
  check_energy_file(header, config, setup.energy_file.digest);
  if (subject.kind != "checkpoint") check_of_one_run(subject, header, setup.energy_file.digest);
  TrainedEnergy energy = load_trained_energy(header, config, setup, average, world);
  if (energy.network->state_shape() != subject.states->shape()) {
    throw FileError(fmt::format("the weights of {} aren't there: {} has states of another shape",
                                subject.path, header.path));
  }
  std::string path;
  std::unique_ptr<StoredStates> bank;
  agree(world, [&] {
    path = fs::canonical(header.path).string();
    bank = std::make_unique<StoredStates>(path);
  });
  EnergyUsed used{path,
                  header.iteration,
                  average ? "average" : "last",
                  digest_of_weights(header, average, setup.energy_file.digest),
                  setup.torch_device.is_cuda() ? "cuda" : "cpu",
                  energy.engine->description()};
  return {config, std::move(setup), std::move(energy), std::move(used), std::move(bank)};
}

std::vector<double> energies_of_states(SubjectEnergy& of, std::int64_t count,
                                       const ReadStates& read, const RowsDone& done,
                                       Communicator& communicator) {
  std::vector<double> energies(static_cast<std::size_t>(count));
  const std::int64_t at_once = of.states_at_once();
  const std::int64_t stride = at_once * communicator.size();
  agree(communicator, [&] {
    for (std::int64_t first = at_once * communicator.rank(); first < count; first += stride) {
      std::vector<std::int64_t> shape = of.energy.network->state_shape();
      shape.insert(shape.begin(), std::min(at_once, count - first));
      const at::Tensor states = at::empty(shape, at::kFloat);
      read(first, shape[0], states.mutable_data_ptr<float>());
      const at::Tensor there = states.to(of.setup.torch_device);
      at::Tensor energy = at::empty({shape[0]}, there.options().dtype(at::kDouble));
      of.energy.engine->evaluate(there, energy, nullptr);
      const at::Tensor here = energy.to(at::kCPU);
      std::copy_n(here.const_data_ptr<double>(), shape[0], energies.begin() + first);
      if (done) done(std::min(first + stride, count), count);
    }
  });
  communicator.sum(std::span<double>(energies));  // each is one rank's, and zero on the others
  return energies;
}

}  // namespace stanley
