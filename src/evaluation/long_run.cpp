#include "evaluation/long_run.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "storage/json_values.hpp"

namespace stanley {
namespace {

using List = nlohmann::ordered_json;

/// A number with its interval, as a reason tells it.
struct Around {
  double value, low, high;

  bool above(const Around& other) const { return low > other.high; }
  std::string text() const { return fmt::format("{:.4g} ({:.4g} to {:.4g})", value, low, high); }
};

Around energy_of(const LongRunPoint& point) {
  return {point.energy.value, *point.energy.low, *point.energy.high};
}

Around kid_of(const LongRunPoint& point) {
  return {*point.kid * 1000, *point.kid_low * 1000, *point.kid_high * 1000};
}

bool has_intervals(const LongRunPoint& point) {
  const auto finite = [](const std::optional<double>& number) {
    return number && std::isfinite(*number);
  };
  return finite(point.energy.low) && finite(point.energy.high) && finite(point.kid_low) &&
         finite(point.kid_high);
}

/// A reason where two of the last points differ.
void compare(const LongRunPoint& one, const LongRunPoint& other, LongRun& run) {
  const auto differ = [&](const char* what, const Around& a, const Around& b) {
    if (!a.above(b) && !b.above(a)) return;
    run.reasons.push_back(fmt::format("{} of chains from {} ends at {}, from {} at {}", what,
                                      one.start, a.text(), other.start, b.text()));
  };
  differ("mean energy", energy_of(one), energy_of(other));
  differ("KID·1000", kid_of(one), kid_of(other));
}

std::string cell(const LongRunPoint& point) {
  std::string text = fmt::format("{:.4g}", point.energy.value);
  if (point.energy.low) text += fmt::format(" ± {:.2g}", point.energy.value - *point.energy.low);
  text += " | ";
  text += point.kid ? fmt::format("{:.1f}", *point.kid * 1000) : "–";
  if (point.kid_low) {
    text += fmt::format(" ({:.1f} to {:.1f})", *point.kid_low * 1000, *point.kid_high * 1000);
  }
  return text;
}

}  // namespace

std::vector<std::int64_t> steps_to_tell(std::int64_t steps, std::int64_t unit) {
  constexpr int decades = 3, per_decade = 3;
  std::vector<std::int64_t> told{0};
  for (int i = decades * per_decade; i >= 0; --i) {
    const double exact = static_cast<double>(steps) * std::pow(10, -i / double{per_decade});
    const std::int64_t units = std::llround(exact / static_cast<double>(unit));
    const std::int64_t step = i == 0 ? steps : units * unit;
    if (step > told.back() && step <= steps) told.push_back(step);
  }
  return told;
}

void judge(LongRun& run) {
  run.verdict = "none";
  if (run.points.size() < 6) return;
  const LongRunPoint& bank = run.points.front();
  const auto last = std::vector<LongRunPoint>(run.points.end() - 3, run.points.end());
  if (!has_intervals(bank) || !std::ranges::all_of(last, has_intervals)) {
    run.reasons.emplace_back("no verdict: there are numbers without an interval");
    return;
  }
  for (const LongRunPoint& one : last) {
    if (!kid_of(one).above(kid_of(bank))) continue;
    run.reasons.push_back(
        fmt::format("KID·1000 of chains from {} ends at {}, above {} of the bank at step 0",
                    one.start, kid_of(one).text(), kid_of(bank).text()));
  }
  compare(last[0], last[1], run);
  compare(last[0], last[2], run);
  compare(last[1], last[2], run);
  run.verdict = run.reasons.empty() ? "stable" : "short-run generator";
}

List as_json(const LongRunPoint& p) {
  return {{"step", p.step},
          {"start", p.start},
          {"energy", p.energy.value},
          {"energy_interval_95", {List(p.energy.low), List(p.energy.high)}},
          {"kid", p.kid},
          {"kid_interval_95", {List(p.kid_low), List(p.kid_high)}}};
}

LongRunPoint point_of(const nlohmann::json& json) {
  const auto number = [](const nlohmann::json& one) { return one.get<std::optional<double>>(); };
  const nlohmann::json &energy = json.at("energy_interval_95"), &kid = json.at("kid_interval_95");
  return {json.at("step"),
          json.at("start"),
          {json.at("energy"), number(energy[0]), number(energy[1])},
          number(json.at("kid")),
          number(kid[0]),
          number(kid[1])};
}

List as_json(const LongRun& run) {
  List points = List::array();
  for (const LongRunPoint& point : run.points) points.push_back(as_json(point));
  return {{"steps", run.steps},     {"chains", run.chains},   {"points", points},
          {"verdict", run.verdict}, {"reasons", run.reasons}, {"rule", long_run_rule},
          {"seconds", run.seconds}};
}

std::string as_text(const LongRun& run) {
  std::string text = fmt::format(
      "long run of {} chains from each start: mean E | KID·1000 (95 %)\n{:>9}", run.chains, "step");
  for (const char* start : {"bank", "data", "noise"}) text += fmt::format("  {:>40}", start);
  for (std::size_t i = 0; i < run.points.size(); ++i) {
    if (i % 3 == 0) text += fmt::format("\n{:>9}", run.points[i].step);
    text += fmt::format("  {:>40}", cell(run.points[i]));
  }
  text += fmt::format("\nverdict after {} steps: {}\n", run.steps, run.verdict);
  for (const std::string& reason : run.reasons) text += fmt::format("- {}\n", reason);
  return text;
}

}  // namespace stanley
