#include "train/decision.hpp"

#include <optional>

#include "config/stages.hpp"

namespace stanley {
namespace {

bool due(const std::optional<std::int64_t>& every, std::int64_t iteration) {
  return every && iteration % *every == 0;
}

}  // namespace

Decision decide(const Votes& all, std::int64_t iteration, const Config& config) {
  const bool last = iteration == config.run.iterations;
  Decision decision{.diverged = all.diverged > 0};
  if (!last) decision.stop_asked_by = asked_to_stop(all);
  decision.draws = due(config.samples.every, iteration) || (last && config.samples.every);
  decision.stage_ends = stage_ends(config, iteration);
  decision.checkpoint = last || decision.stop() || decision.stage_ends || all.checkpoint > 0 ||
                        due(config.checkpoint.every, iteration);
  return decision;
}

}  // namespace stanley
