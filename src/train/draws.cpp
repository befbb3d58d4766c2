#include "train/draws.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>

#include "run/record.hpp"
#include "run/version.hpp"

namespace stanley {
namespace {

/// Data samples kept beside the draws, for comparison by eye.
constexpr std::int64_t observed_samples = 256;

std::vector<float> observed(const Dataset& dataset) {
  const std::int64_t count = std::min(observed_samples, dataset.size());
  std::vector<float> values(static_cast<std::size_t>(count * dataset.dimension()));
  for (std::int64_t i = 0; i < count; ++i) {
    dataset.copy_sample(i * dataset.size() / count,
                        &values[static_cast<std::size_t>(i * dataset.dimension())]);
  }
  return values;
}

}  // namespace

std::map<std::string, std::variant<std::string, std::int64_t, double>> draw_attributes(
    const Config& config) {
  return {{"created_at", utc_now()},
          {"inference_library", std::string("stanley")},
          {"inference_library_version", std::string(build_version)},
          {"commit", std::string(build_commit)},
          {"seed", static_cast<std::int64_t>(config.run.seed)},
          {"temperature", config.sampler.temperature_value()},
          {"configuration", to_yaml(config)}};
}

std::vector<double> log_density(const std::vector<double>& energies, const Config& config) {
  const double temperature = config.sampler.temperature_value();
  std::vector<double> result = energies;
  for (double& value : result) value = -value / (temperature > 0 ? temperature : 1.0);
  return result;
}

CommitReport write_bank_draws(Trainer& trainer, const Dataset& dataset, const Config& config,
                              const std::string& directory, Communicator& communicator,
                              const FileOptions& options) {
  Bank& bank = trainer.bank();
  const std::int64_t wanted =
      std::min(config.samples.chains.value_or(config.chains.total), config.chains.total);
  const std::int64_t count =
      std::clamp<std::int64_t>(wanted - bank.first_id(), 0, bank.local_count());
  const at::Tensor states = bank.state().narrow(0, 0, count).to(at::kCPU).contiguous();
  const at::Tensor energy = trainer.chain_energies(count);
  const std::vector<double> energies(energy.const_data_ptr<float>(),
                                     energy.const_data_ptr<float>() + count);
  const std::vector<double> lp = log_density(energies, config);
  const std::vector<double> acceptance(static_cast<std::size_t>(count), 1.0);
  const std::vector<float> data = observed(dataset);

  DrawSet draws;
  draws.state_shape = dataset.shape();
  draws.chains = wanted;
  draws.chains_per_shard = config.chains.total / config.chains.shards;
  draws.first_chain = std::min(bank.first_id(), wanted);
  draws.chain_count = count;
  draws.draw_numbers = {trainer.iteration()};
  draws.states = states.const_data_ptr<float>();
  draws.statistics = {{"lp", ElementType::float64, lp.data()},
                      {"potential_energy", ElementType::float64, energies.data()},
                      {"age", ElementType::int64, bank.ages().data()},
                      {"restarts", ElementType::int64, bank.restarts().data()},
                      {"acceptance_rate", ElementType::float64, acceptance.data()}};
  draws.observed = data;
  draws.attributes = draw_attributes(config);
  draws.attributes["iteration"] = trainer.iteration();
  return write_draws(communicator, fmt::format("{}/draws-{:08}.nc", directory, trainer.iteration()),
                     draws, options);
}

}  // namespace stanley
