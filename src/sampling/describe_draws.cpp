#include "sampling/describe_draws.hpp"

#include "run/record.hpp"
#include "run/version.hpp"

namespace stanley {

void describe(DrawSet& set, DrawColumns& columns, const Config& config) {
  const double temperature = config.sampler.temperature_value();
  columns.lp = columns.energies;
  for (double& value : columns.lp) value = -value / (temperature > 0 ? temperature : 1.0);
  set.statistics = {{"lp", ElementType::float64, columns.lp.data()},
                    {"potential_energy", ElementType::float64, columns.energies.data()},
                    {"age", ElementType::int64, columns.ages.data()},
                    {"restarts", ElementType::int64, columns.restarts.data()},
                    {"acceptance_rate", ElementType::float64, columns.acceptance.data()}};
  set.attributes = {{"created_at", utc_now()},
                    {"inference_library", std::string("stanley")},
                    {"inference_library_version", std::string(build_version)},
                    {"commit", std::string(build_commit)},
                    {"seed", static_cast<std::int64_t>(config.run.seed)},
                    {"temperature", temperature},
                    {"configuration", to_yaml(config)}};
}

}  // namespace stanley
