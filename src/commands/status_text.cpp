#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "commands/status_report.hpp"
#include "config/error.hpp"

// The reports of `stanley status` as a person reads them.

namespace stanley {
namespace {

constexpr const char* none = "–";

std::string state_text(const RunStatus& run) {
  if (!run.is_run) return "no run";
  return run.state.empty() ? "?" : printable(run.state);
}

std::string iteration_text(const RunStatus& run) {
  if (!run.iteration) return none;
  return run.iterations ? fmt::format("{}/{}", *run.iteration, *run.iterations)
                        : fmt::format("{}", *run.iteration);
}

std::string percent_text(const RunStatus& run) {
  if (!run.iteration || !run.iterations || *run.iterations <= 0) return none;
  const double share =
      100 * static_cast<double>(*run.iteration) / static_cast<double>(*run.iterations);
  if (share < 10) return fmt::format("{:.1f} %", std::floor(10 * share) / 10);
  const bool at_the_end = *run.iteration >= *run.iterations;  // 100 % only there
  return fmt::format("{:.0f} %",
                     at_the_end ? std::floor(share) : std::min(std::floor(share), 99.0));
}

std::string seconds_text(const std::optional<double>& seconds) {
  return seconds ? time_in_words(*seconds) : none;
}

std::string ago(const std::optional<double>& seconds) {
  return seconds ? time_in_words(*seconds) + " ago" : "";
}

/// So many digits behind the point; fewer in all where a damaged file says what nothing measures.
std::string decimal(double number, int digits) {
  return std::abs(number) < 1e12 ? fmt::format("{:.{}f}", number, digits)
                                 : fmt::format("{:.3g}", number);
}

std::string thousandths(double kid) { return decimal(1000 * kid, 1); }

/// "812.0 (790.1 to 833.9)"
std::string kid_text(const EvaluationStatus& evaluation) {
  if (!evaluation.kid) return none;
  std::string text = thousandths(*evaluation.kid);
  if (evaluation.kid_low && evaluation.kid_high) {
    text += fmt::format(" ({} to {})", thousandths(*evaluation.kid_low),
                        thousandths(*evaluation.kid_high));
  }
  return text;
}

std::string owner_word(const RunStatus& run) {
  if (!run.owner) return "none";
  if (!run.owner->alive) return "?";
  return *run.owner->alive ? "alive" : "gone";
}

// --- a block for one run
// ---------------------------------------------------------------------------
void add(std::string& text, const char* what, const std::string& words) {
  if (!words.empty()) text += fmt::format("\n  {:<11} {}", what, words);
}

std::string progress_words(const RunStatus& run) {
  const char* unit = run.kind.empty() ? "iteration" : "chain step";
  if (!run.iteration) return fmt::format("no {} yet", unit);
  std::string words =
      fmt::format("{} {} of {} ({})", unit, *run.iteration,
                  run.iterations ? fmt::format("{}", *run.iterations) : "?", percent_text(run));
  if (run.seconds_left) words += fmt::format(", {} left", time_in_words(*run.seconds_left));
  if (run.seconds_since_row) words += fmt::format(", last row {}", ago(run.seconds_since_row));
  return words;
}

std::string rate_words(const RunStatus& run) {
  if (!run.seconds_per_iteration) {
    return run.chain_steps_per_second
               ? fmt::format("{} chain steps/s", decimal(*run.chain_steps_per_second, 0))
               : "";
  }
  std::string words = fmt::format("{:.3g} s an iteration", *run.seconds_per_iteration);
  if (run.chain_steps_per_second) {
    words += fmt::format(", {} chain steps/s", decimal(*run.chain_steps_per_second, 0));
  }
  return words;
}

std::string energy_words(const RunStatus& run) {
  if (run.rows_read == 0) return "";
  return fmt::format("data {:.4g}, chains {:.4g}, noise {:.4g}, gap {:+.4g}", run.energy_data,
                     run.energy_chains, run.energy_noise, run.gap);
}

std::string owner_words(const RunStatus& run) {
  if (!run.owner) return "none";
  const OwnerStatus& owner = *run.owner;
  if (!owner.alive) return "unknown";
  return fmt::format("{}: process {} on {}{}, last heartbeat {}", owner_word(run), owner.process,
                     printable(owner.host),
                     owner.job.empty() ? "" : ", job " + printable(owner.job),
                     ago(owner.seconds_since_heartbeat));
}

std::string checkpoint_words(const std::optional<CheckpointStatus>& checkpoint) {
  if (!checkpoint) return "";
  const std::string iteration =
      checkpoint->iteration ? fmt::format("{}", *checkpoint->iteration) : "?";
  return fmt::format("iteration {}, {}, {:.1f} MB, {}", iteration, ago(checkpoint->seconds_old),
                     static_cast<double>(checkpoint->bytes) / 1e6,
                     checkpoint->problems.empty() ? "header sound" : "NOT TO BE TRUSTED");
}

std::string evaluation_words(const RunStatus& run) {
  if (!run.evaluation) return "";
  const EvaluationStatus& one = *run.evaluation;
  std::string words = one.iteration ? fmt::format("iteration {}, ", *one.iteration) : "";
  words += fmt::format("KID·1000 {}", kid_text(one));
  if (one.fid) words += fmt::format(", FID {:.4g}", *one.fid);
  words += fmt::format(", protocol {}", printable(one.protocol));
  if (one.states) words += fmt::format(", {} states", *one.states);
  words += ", " + printable(one.path);
  return one.seconds_old ? words + ", " + ago(one.seconds_old) : words;
}

std::string training_kid_words(const RunStatus& run) {
  std::vector<std::string> words;
  const auto say = [&](const char* of, const std::optional<TrainingKid>& kid) {
    if (!kid) return;
    words.push_back(
        fmt::format("{} {} (iteration {})", of, thousandths(kid->value), kid->iteration));
  };
  say("train", run.kid_train);
  say("test", run.kid_test);
  return fmt::format("{}", fmt::join(words, ", "));
}

std::string block(const RunStatus& run) {
  std::string text = fmt::format("{}: {}", printable(run.path), state_text(run));
  add(text, "kind", printable(run.kind));
  add(text, "progress", progress_words(run));
  add(text, "stage", printable(run.stage));
  add(text, "pace", rate_words(run));
  add(text, "owner", owner_words(run));
  add(text, "energies", energy_words(run));
  add(text, "checkpoint", run.newest ? checkpoint_words(run.newest) : "none");
  add(text, "best", checkpoint_words(run.best));
  add(text, "KID·1000", training_kid_words(run));
  add(text, "evaluation", evaluation_words(run));
  for (const auto& remark : run.remarks) add(text, "look at", printable(remark));
  return text;
}

// --- a table of several
// ----------------------------------------------------------------------------
using Row = std::array<std::string, 9>;

/// That of the last evaluation, with its protocol and states, else the training's own test figure.
std::string short_kid(const RunStatus& run) {
  if (run.evaluation && run.evaluation->kid) {
    return fmt::format("{} ({}, {} states)", thousandths(*run.evaluation->kid),
                       printable(run.evaluation->protocol), run.evaluation->states.value_or(0));
  }
  if (run.kid_test) return thousandths(run.kid_test->value) + " (in training)";
  return none;
}

std::string short_checkpoint(const RunStatus& run) {
  if (!run.newest) return none;
  if (!run.newest->problems.empty()) return "NOT TO BE TRUSTED";
  return fmt::format("{}, {}", run.newest->iteration.value_or(0), ago(run.newest->seconds_old));
}

Row row_of(const RunStatus& run) {
  const std::string path = printable(run.path);
  if (!run.is_run) return {path, state_text(run), none, none, none, none, none, none, none};
  return {path,
          state_text(run),
          iteration_text(run),
          percent_text(run),
          seconds_text(run.seconds_left),
          std::isnan(run.gap) ? none : fmt::format("{:+.3g}", run.gap),
          short_checkpoint(run),
          owner_word(run),
          short_kid(run)};
}

/// Code points of a text: "–" takes one place.
std::size_t places(const std::string& text) {
  return static_cast<std::size_t>(std::ranges::count_if(
      text, [](char byte) { return (static_cast<unsigned char>(byte) & 0xC0U) != 0x80U; }));
}

std::string table(const std::vector<RunStatus>& runs) {
  std::vector<Row> rows{
      {"run", "state", "iteration", "done", "left", "gap", "checkpoint", "owner", "KID·1000"}};
  for (const RunStatus& run : runs) rows.push_back(row_of(run));
  std::array<std::size_t, std::tuple_size_v<Row>> widths{};
  for (const Row& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], places(row[i]));
  }
  std::string text;
  for (const Row& row : rows) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      line += row[i] + std::string(widths[i] - places(row[i]) + 2, ' ');
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += (text.empty() ? "" : "\n") + line;
  }
  for (const RunStatus& run : runs) {
    for (const auto& remark : run.remarks)
      text += fmt::format("\n{}: {}", printable(run.path), printable(remark));
  }
  return text;
}

}  // namespace

std::string as_text(const std::vector<RunStatus>& runs) {
  return runs.size() == 1 ? block(runs.front()) : table(runs);
}

}  // namespace stanley
