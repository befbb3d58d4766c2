#include "config/config.hpp"

#include <algorithm>
#include <cmath>

namespace stanley {
double RestartSchedule::at(std::int64_t iteration, std::int64_t iterations) const {
  if (iteration >= iterations) {
    return to;
  }
  const double share =
      static_cast<double>(std::max<std::int64_t>(iteration, 0)) / static_cast<double>(iterations);
  return from + (to - from) * share;
}

double SamplerConfig::sigma() const {
  return noise ? *noise : std::sqrt(step_size * temperature.value());
}

double SamplerConfig::temperature_value() const {
  return temperature ? *temperature : noise.value() * noise.value() / step_size;
}

}  // namespace stanley
