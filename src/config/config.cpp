#include "config/config.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

namespace stanley {
double RestartSchedule::at(std::int64_t iteration, std::int64_t iterations) const {
  if (iteration >= iterations) {
    return to;
  }
  const double share =
      static_cast<double>(std::max<std::int64_t>(iteration, 0)) / static_cast<double>(iterations);
  return from + (to - from) * share;
}

StartType StartMixture::pick(double at) const {
  double sum = 0;
  for (const auto& [law, share] : shares) {
    sum += share;
    if (at < sum) return law;
  }
  return shares.rbegin()->first;  // rounding may leave the sum below 1
}

std::string to_string(const StartMixture& start) {
  if (start.shares.size() == 1) return to_string(start.shares.begin()->first);
  std::string text;
  for (const auto& [law, share] : start.shares) {
    text += fmt::format("{}{}: {}", text.empty() ? "" : ", ", to_string(law), share);
  }
  return "{" + text + "}";
}

double Schedule::factor(std::int64_t iteration, std::int64_t iterations) const {
  const bool warms_up = type == ScheduleType::linear_warmup || type == ScheduleType::cosine;
  if (warms_up && iteration < warmup) {
    return static_cast<double>(iteration + 1) / static_cast<double>(warmup);
  }
  switch (type) {
    case ScheduleType::constant:
    case ScheduleType::linear_warmup:
      return 1.0;
    case ScheduleType::exponential:
      return std::pow(decay, static_cast<double>(iteration));
    case ScheduleType::cosine:
      break;
  }
  const std::int64_t last = end.value_or(iterations);
  if (iteration >= last) {
    return final_factor;
  }
  const double share = static_cast<double>(iteration - warmup) / static_cast<double>(last - warmup);
  const double wave = 0.5 * (1.0 + std::cos(std::numbers::pi * share));
  return final_factor + (1.0 - final_factor) * wave;
}

bool Config::line_due(std::int64_t iteration) const {
  return iteration % log.every == 0 || iteration == run.iterations;
}

double SamplerConfig::sigma() const {
  return noise ? *noise : std::sqrt(step_size * temperature.value());
}

double SamplerConfig::temperature_value() const {
  return temperature ? *temperature : noise.value() * noise.value() / step_size;
}

}  // namespace stanley
