#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "config/config.hpp"
#include "parallel/session.hpp"
#include "run/log.hpp"
#include "run/metrics.hpp"
#include "run/stragglers.hpp"
#include "train/chain_motion.hpp"

namespace stanley {

/// What is told of each iteration: a row of metrics.csv and, now and then, a line of the log with
/// what is wrong with the chains' moves and which rank is a straggler.
class IterationLog {
 public:
  /// What it refers to must outlive it.
  IterationLog(const Config& config, Session& session, Log& log)
      : config_(config), session_(session), log_(log), line_(line_of(config)) {}

  /// Rank 0. Opens metrics.csv, whose rows after `iteration` are dropped; says where rows since
  /// iteration `base` are missing: a history with a gap must not look like one without. `more`: the
  /// records' further columns.
  void open(const std::string& path, std::int64_t iteration, std::int64_t base,
            const std::vector<std::string>& more);
  /// Rank 0. Brings all rows to the disk.
  void sync();

  /// Collective where a line of the log is due. `sampler`: of the present stage.
  void add(const IterationRecord& record, const SamplerConfig& sampler, const ChainScale& scale);

  /// Collective. Says which ranks were stragglers over this whole start, and what evaluation,
  /// guard and watchdog cost of it.
  void sum_up(double watchdog_seconds);
  /// Collective. How long each rank waited in this start's iterations, s, in rank order.
  std::vector<double> waited() const { return waits_.gather(session_.world()); }
  /// Of this start's iterations.
  double seconds() const { return waits_.seconds(); }

 private:
  static ProgressLine line_of(const Config& config) {
    return {config.run.iterations, config.sampler.temperature_value()};
  }
  void tell_motion(const IterationRecord& record, const SamplerConfig& sampler,
                   const ChainScale& scale);
  void tell_stragglers(const WaitTally& waits);

  const Config& config_;
  Session& session_;
  Log& log_;
  std::optional<MetricsFile> metrics_;  // rank 0
  ProgressLine line_;
  WaitTally waits_, recent_waits_;                     // of this start; since the log's last line
  double seconds_guard_ = 0, seconds_evaluation_ = 0;  // of this start
  bool motion_told_ = false;
};

}  // namespace stanley
