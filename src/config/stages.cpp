#include "config/stages.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace stanley {

std::size_t stage_count(const Config& config) {
  return std::max<std::size_t>(config.stages.size(), 1);
}

Config stage_config(const Config& config, std::size_t stage) {
  Config plain = config;
  plain.stages.clear();
  if (config.stages.empty()) return plain;
  const StageConfig& own = config.stages.at(stage);
  const auto levels_left_out = static_cast<std::int64_t>(config.stages.size() - 1 - stage);
  plain.energy.levels -= levels_left_out;
  plain.energy.channels <<= levels_left_out;
  plain.data.size = own.size;
  plain.sampler.steps = own.steps.value_or(plain.sampler.steps);
  plain.chains.active = own.active.value_or(plain.chains.active);
  plain.data.batch = own.batch.value_or(plain.data.batch);
  plain.optimizer.learning_rate = own.learning_rate.value_or(plain.optimizer.learning_rate);
  return plain;
}

Config last_stage(const Config& config) { return stage_config(config, stage_count(config) - 1); }

std::size_t stage_at(const Config& config, std::int64_t iteration) {
  std::int64_t end = 0;
  for (std::size_t stage = 0; stage + 1 < stage_count(config); ++stage) {
    end += config.stages[stage].iterations.value();
    if (iteration <= end) return stage;
  }
  return stage_count(config) - 1;
}

bool stage_ends(const Config& config, std::int64_t iteration) {
  return stage_at(config, iteration) != stage_at(config, iteration + 1);
}

std::int64_t iterations_of(const Config& config, std::size_t stage) {
  std::int64_t left = config.run.iterations;
  for (std::size_t i = 0; i + 1 < stage_count(config); ++i) {
    const std::int64_t own = config.stages[i].iterations.value();
    if (i == stage) return own;
    left -= own;
  }
  return left;
}

std::string stage_text(const Config& config, std::size_t stage) {
  if (config.stages.empty()) return "";
  const std::int64_t size = config.stages[stage].size;
  return fmt::format("stage {} of {}: images of {}×{}", stage + 1, config.stages.size(), size,
                     size);
}

}  // namespace stanley
