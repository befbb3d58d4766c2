#pragma once

#include <cstdint>

#include "config/config.hpp"

namespace stanley {

/// The factor on optimizer.learning_rate for the weight update that follows `iteration` finished
/// updates, of `iterations` in the whole run (the end of the schedule unless it names its own).
/// With t = iteration, w = warmup, e = end, and a linear rise (t + 1)/w while t < w in the
/// schedules that have a warm-up:
///   constant       1
///   linear_warmup  1 after the rise
///   exponential    decay^t
///   cosine         final + (1 − final)·(1 + cos(π·(t − w)/(e − w)))/2, then `final` from e on
double learning_rate_factor(const Schedule& schedule, std::int64_t iteration,
                            std::int64_t iterations);

}  // namespace stanley
