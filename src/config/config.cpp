#include "config/config.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "config/enum_names.hpp"

namespace stanley {
namespace {

template <typename Enum>
std::string name_of(Enum value) {
  return std::string(EnumNames<Enum>::names.at(static_cast<std::size_t>(value)));
}

}  // namespace

std::string to_string(DeviceKind value) { return name_of(value); }
std::string to_string(Precision value) { return name_of(value); }
std::string to_string(EnergyType value) { return name_of(value); }
std::string to_string(Activation value) { return name_of(value); }
std::string to_string(DataType value) { return name_of(value); }
std::string to_string(StartType value) { return name_of(value); }
std::string to_string(TransitionType value) { return name_of(value); }
std::string to_string(Refresh value) { return name_of(value); }
std::string to_string(ObjectiveType value) { return name_of(value); }
std::string to_string(OptimizerType value) { return name_of(value); }
std::string to_string(ScheduleType value) { return name_of(value); }

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
