#include "train/bank_draws.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>

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

std::int64_t chains_wanted(const Config& config) {
  return std::min(config.samples.chains.value_or(config.chains.total), config.chains.total);
}

/// Those of them that are this rank's.
std::int64_t chains_here(const Bank& bank, const Config& config) {
  return std::clamp<std::int64_t>(chains_wanted(config) - bank.first_id(), 0, bank.local_count());
}

}  // namespace

BankDraws::BankDraws(Trainer& trainer, const Dataset& dataset) {
  const Config& config = trainer.config();
  Bank& bank = trainer.bank();
  const std::int64_t wanted = chains_wanted(config), count = chains_here(bank, config);
  const auto size = static_cast<std::size_t>(count);
  DrawnStates draws = trainer.draws(count);
  states_ = draws.states;
  columns_.energies.assign(draws.energies.const_data_ptr<double>(),
                           draws.energies.const_data_ptr<double>() + count);
  columns_.acceptance.assign(size, 1.0);
  columns_.ages.assign(bank.ages().begin(), bank.ages().begin() + count);
  columns_.restarts.assign(bank.restarts().begin(), bank.restarts().begin() + count);

  set_.state_shape = dataset.shape();
  set_.chains = wanted;
  set_.chains_per_shard = config.chains.total / config.chains.shards;
  set_.first_chain = std::min(bank.first_id(), wanted);
  set_.chain_count = count;
  set_.draw_numbers = {trainer.iteration()};
  set_.states = states_.const_data_ptr<float>();
  set_.observed = observed(dataset);
  describe(set_, columns_, config);
  set_.attributes["iteration"] = trainer.iteration();
  if (!draws.denoised.empty()) set_.attributes["denoise"] = draws.denoised;
  refused_ = std::move(draws.refused);
}

std::size_t BankDraws::bytes(Bank& bank, const Config& config) {
  constexpr std::size_t statistics = 5 * sizeof(double);
  const auto state = static_cast<std::size_t>(bank.state().numel() / bank.local_count());
  return static_cast<std::size_t>(chains_here(bank, config)) * (state * sizeof(float) + statistics);
}

std::string BankDraws::path(const std::string& directory) const {
  return fmt::format("{}/draws-{:08}.nc", directory, set_.draw_numbers.front());
}

}  // namespace stanley
