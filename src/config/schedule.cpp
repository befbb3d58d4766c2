#include "config/schedule.hpp"

#include <cmath>
#include <numbers>

namespace stanley {

double learning_rate_factor(const Schedule& schedule, std::int64_t iteration,
                            std::int64_t iterations) {
  const bool warms_up =
      schedule.type == ScheduleType::linear_warmup || schedule.type == ScheduleType::cosine;
  if (warms_up && iteration < schedule.warmup) {
    return static_cast<double>(iteration + 1) / static_cast<double>(schedule.warmup);
  }
  switch (schedule.type) {
    case ScheduleType::constant:
    case ScheduleType::linear_warmup:
      return 1.0;
    case ScheduleType::exponential:
      return std::pow(schedule.decay, static_cast<double>(iteration));
    case ScheduleType::cosine:
      break;
  }
  const std::int64_t end = schedule.end.value_or(iterations);
  if (iteration >= end) {
    return schedule.final_factor;
  }
  const double share =
      static_cast<double>(iteration - schedule.warmup) / static_cast<double>(end - schedule.warmup);
  const double wave = 0.5 * (1.0 + std::cos(std::numbers::pi * share));
  return schedule.final_factor + (1.0 - schedule.final_factor) * wave;
}

}  // namespace stanley
