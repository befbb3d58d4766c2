#include "train/iteration_log.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace stanley {

void IterationLog::open(const std::string& path, std::int64_t iteration, std::int64_t base,
                        const std::vector<std::string>& more) {
  metrics_.emplace(path, iteration, more);
  line_ = line_of(config_);
  const std::int64_t last = std::max(metrics_->last_kept(), base);
  if (last >= iteration) return;
  log_.warn(fmt::format("{} has no rows of the iterations {} to {}: they were lost", path, last + 1,
                        iteration));
}

void IterationLog::sync() {
  if (metrics_) metrics_->sync();
}

void IterationLog::add(const IterationRecord& record, const SamplerConfig& sampler,
                       const ChainScale& scale) {
  const double seconds = record.seconds();
  seconds_evaluation_ += record.seconds_evaluation;
  seconds_guard_ += record.seconds_guard;
  waits_.add(record.seconds_waiting, seconds);
  recent_waits_.add(record.seconds_waiting, seconds);
  if (metrics_) {
    metrics_->append(record);
    line_.add(record);
  }
  if (!config_.line_due(record.iteration)) return;
  if (metrics_) log_.info(line_.take());
  tell_motion(record, sampler, scale);
  tell_stragglers(recent_waits_);
  recent_waits_ = {};
}

/// Says once what keeps the chains from sampling.
void IterationLog::tell_motion(const IterationRecord& record, const SamplerConfig& sampler,
                               const ChainScale& scale) {
  if (motion_told_) return;
  const auto complaints = motion_complaints(record, sampler, scale);
  for (const std::string& complaint : complaints) log_.warn(complaint);
  motion_told_ = !complaints.empty();
}

/// Collective.
void IterationLog::tell_stragglers(const WaitTally& waits) {
  const std::string line =
      straggler_line(waits.gather(session_.world()), session_.hosts(), waits.seconds());
  if (!line.empty()) log_.info(line);
}

void IterationLog::sum_up(double watchdog_seconds) {
  if (seconds() <= 0) return;
  tell_stragglers(waits_);
  const auto share = [this](double part) { return 100 * part / seconds(); };
  const std::string evaluation =
      seconds_evaluation_ > 0 ? fmt::format("evaluation {:.2f} %, ", share(seconds_evaluation_))
                              : "";
  log_.info(fmt::format("{}guard {:.3f} % and watchdog {:.3f} % of {}", evaluation,
                        share(seconds_guard_), share(watchdog_seconds), duration_text(seconds())));
}

}  // namespace stanley
