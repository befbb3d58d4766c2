#include "run/log.hpp"

#include <fmt/format.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <cmath>
#include <iterator>
#include <string_view>
#include <utility>

#include "config/error.hpp"

namespace stanley {
namespace {

/// On a terminal "warning: " or "error: " begins such a line, and nothing the others; in the file
/// each line has its level.
class LoudLevel : public spdlog::custom_flag_formatter {
 public:
  void format(const spdlog::details::log_msg& message, const std::tm&,
              spdlog::memory_buf_t& line) override {
    if (message.level < spdlog::level::warn) return;
    const auto name = spdlog::level::to_string_view(message.level);
    fmt::format_to(std::back_inserter(line), "{}: ", std::string_view(name.data(), name.size()));
  }
  std::unique_ptr<custom_flag_formatter> clone() const override {
    return std::make_unique<LoudLevel>();
  }
};

}  // namespace

Log::Log(bool speaks) : logger_(std::make_shared<spdlog::logger>("stanley")) {
  logger_->set_level(speaks ? spdlog::level::info : spdlog::level::off);
  if (!speaks) return;
  auto terminal = std::make_shared<spdlog::sinks::stdout_sink_mt>();
  auto words = std::make_unique<spdlog::pattern_formatter>();
  words->add_flag<LoudLevel>('*').set_pattern("%Y-%m-%dT%H:%M:%S%z %*%v");
  terminal->set_formatter(std::move(words));
  logger_->sinks().push_back(std::move(terminal));
  logger_->flush_on(spdlog::level::info);
}

void Log::add_file(const std::string& path) {
  if (!logger_->should_log(spdlog::level::info)) return;
  try {
    auto file = std::make_shared<spdlog::sinks::basic_file_sink_mt>(path);
    file->set_pattern("%Y-%m-%dT%H:%M:%S%z %l %v");
    logger_->sinks().push_back(std::move(file));
  } catch (const spdlog::spdlog_ex& error) {
    throw FileError(fmt::format("{} can't be written ({})", path, error.what()));
  }
}

void Log::info(const std::string& message) { logger_->info("{}", message); }
void Log::warn(const std::string& message) { logger_->warn("{}", message); }
void Log::error(const std::string& message) { logger_->error("{}", message); }

namespace {

/// "0.98 ± 0.03", or "–" where it is not defined.
std::string reading(double value, double error) {
  if (!std::isfinite(value)) return "–";
  return std::isfinite(error) ? fmt::format("{:.3g} ± {:.1g}", value, error)
                              : fmt::format("{:.3g}", value);
}

/// How the chains moved: γ, or which steps were accepted, as far as the transition has them.
std::string motion(const IterationRecord& r) {
  std::string text;
  if (std::isfinite(r.gain_q50)) {
    text += fmt::format("gain median {:.2f}, {:.0f} % < 1, drift {:.2f} | ", r.gain_q50,
                        100 * r.gain_below_one, r.gain_weighted_drift);
  }
  if (r.acceptance_rate < 1) text += fmt::format("accepted {:.0f} % | ", 100 * r.acceptance_rate);
  return text;
}

}  // namespace

void ProgressLine::add(const IterationRecord& record) {
  last_ = record;
  ++count_;
  chains_ += record.seconds_chains;
  gradient_ += record.seconds_gradient;
  reduction_ += record.seconds_reduction;
  waiting_ += record.seconds_waiting;
  files_ += record.seconds_files;
  evaluation_ += record.seconds_evaluation;
  total_ += record.seconds();
  steps_ += record.chain_steps_per_second * record.seconds_iteration;
}

std::string ProgressLine::take() {
  const IterationRecord& r = last_;
  const auto share = [this](double seconds) { return 100 * seconds / total_; };
  const double left =
      total_ / static_cast<double>(count_) * static_cast<double>(iterations_ - r.iteration);
  std::string line = fmt::format(
      "{:>6}/{} | E data {:.3f} chains {:.3f} noise {:.3f} gap {:+.4f} | grad weights {:.2e} "
      "states "
      "{} | {}moved {:.2f} age {:.0f} | "
      "T {:.3g} settled {} law {} walls {:.0f} % score {}{} | {:.0f} chain steps/s ({:.0f} % "
      "chains, "
      "{:.0f} % gradient, {:.0f} % reduction, {:.0f} % "
      "waiting, {:.0f} % files{}) | {} left",
      r.iteration, iterations_, r.energy_data, r.energy_chains, r.energy_noise, r.gap,
      r.gradient_norm,
      std::isfinite(r.state_gradient_q50) ? fmt::format("{:.2e}", r.state_gradient_q50) : "–",
      motion(r), r.distance_moved, r.chain_age_mean, temperature_,
      reading(r.temperature_settled, r.temperature_settled_error),
      reading(r.temperature_law, r.temperature_law_error), 100 * r.saturation,
      reading(r.data_score, IterationRecord::undefined),
      std::isfinite(r.noise_left) ? fmt::format(" | noise left {:.0f} %", 100 * r.noise_left) : "",
      steps_ / total_, share(chains_), share(gradient_), share(reduction_), share(waiting_),
      share(files_),
      evaluation_ > 0 ? fmt::format(", {:.0f} % evaluation", share(evaluation_)) : "",
      duration_text(left));
  *this = ProgressLine(iterations_, temperature_);
  return line;
}

std::string duration_text(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0) return "?";
  const auto whole = static_cast<std::int64_t>(std::llround(seconds));
  if (whole < 3600) return fmt::format("{}:{:02}", whole / 60, whole % 60);
  return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
}

}  // namespace stanley
