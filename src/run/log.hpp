#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "run/metrics.hpp"

namespace spdlog {
class logger;
}

namespace stanley {

/// What rank 0 says, on the terminal and, once there is one, in the run's log file. On the other
/// ranks it is silent.
class Log {
 public:
  explicit Log(bool speaks);

  /// From now on also to this file, appended. Errors: input_output.
  void add_file(const std::string& path);

  void info(const std::string& message);
  void warn(const std::string& message);
  void error(const std::string& message);

 private:
  std::shared_ptr<spdlog::logger> logger_;
};

/// Collects the records between two log lines and says, in one line, all that an experienced person
/// looks for. Energies and the like are those of the last iteration, rates and shares of time are
/// means over the interval.
class ProgressLine {
 public:
  /// `temperature`: T of the run.
  ProgressLine(std::int64_t iterations, double temperature)
      : iterations_(iterations), temperature_(temperature) {}

  void add(const IterationRecord& record);
  /// The line; begins a new interval.
  std::string take();

 private:
  std::int64_t iterations_;
  double temperature_;
  std::int64_t count_ = 0;
  IterationRecord last_;
  double chains_ = 0, gradient_ = 0, reduction_ = 0, waiting_ = 0, files_ = 0, evaluation_ = 0,
         total_ = 0, steps_ = 0;
};

/// "1:02:03" or "4:05".
std::string duration_text(double seconds);

}  // namespace stanley
