#include "sampling/draw_attributes.hpp"

#include "run/record.hpp"
#include "run/version.hpp"

namespace stanley {

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

std::vector<DrawStatistic> DrawColumns::statistics() const {
  return {{"lp", ElementType::float64, lp.data()},
          {"potential_energy", ElementType::float64, energies.data()},
          {"age", ElementType::int64, ages.data()},
          {"restarts", ElementType::int64, restarts.data()},
          {"acceptance_rate", ElementType::float64, acceptance.data()}};
}

std::vector<double> log_density(const std::vector<double>& energies, const Config& config) {
  const double temperature = config.sampler.temperature_value();
  std::vector<double> result = energies;
  for (double& value : result) value = -value / (temperature > 0 ? temperature : 1.0);
  return result;
}

}  // namespace stanley
