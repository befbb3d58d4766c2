#include "evaluation/energies.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "storage/json_values.hpp"

namespace stanley {
namespace {

using List = nlohmann::ordered_json;

constexpr int parts_of_a_set = 16;  // that the edges of histograms cut it into
constexpr const char *training_set = "training", *test_set = "test";

std::vector<double> ascending(std::vector<double> numbers) {
  std::ranges::sort(numbers);
  return numbers;
}

/// Mean and variance (n − 1; 0 of a single number).
struct Moments {
  explicit Moments(const std::vector<double>& numbers)
      : count(static_cast<double>(numbers.size())) {
    for (const double number : numbers) mean += number;
    mean /= count;
    for (const double number : numbers) variance += (number - mean) * (number - mean);
    variance /= std::max(count - 1, 1.0);
  }
  double count, mean = 0, variance = 0;
};

Mean with_error(double value, double squared_error) {
  const double half = normal_quantile * std::sqrt(squared_error);
  return {value, value - half, value + half};
}

/// Of two sets' means, by the variances of each (Welch).
Mean difference(const std::vector<double>& of, const std::vector<double>& from) {
  const Moments left(of), right(from);
  if (of.size() < 2 || from.size() < 2) return {left.mean - right.mean, {}, {}};
  return with_error(left.mean - right.mean,
                    left.variance / left.count + right.variance / right.count);
}

std::vector<double> edges_of(const std::vector<EnergySet>& sets) {
  std::vector<double> edges;
  for (const EnergySet& set : sets) {
    const std::vector<double> sorted = ascending(set.energies);
    for (int i = 0; i <= parts_of_a_set; ++i) {
      edges.push_back(quantile(sorted, static_cast<double>(i) / parts_of_a_set));
    }
  }
  std::ranges::sort(edges);
  edges.erase(std::ranges::unique(edges).begin(), edges.end());
  if (edges.size() == 1) edges.push_back(edges.front());  // all energies are the same
  return edges;
}

EnergySummary summarize(const EnergySet& set, const std::vector<double>& edges) {
  EnergySummary summary{set.name, set.data, set.split,
                        static_cast<std::int64_t>(set.energies.size()), set.available};
  const std::vector<double> sorted = ascending(set.energies);
  summary.mean = mean_of(set.energies);
  summary.deviation = std::sqrt(Moments(set.energies).variance);
  summary.lowest = sorted.front();
  summary.highest = sorted.back();
  for (const double q : told_quantiles) summary.quantiles.push_back(quantile(sorted, q));
  summary.histogram = histogram(set.energies, edges);
  return summary;
}

const EnergySet* named(const std::vector<EnergySet>& sets, const char* name) {
  const auto found =
      std::ranges::find_if(sets, [&](const EnergySet& set) { return set.name == name; });
  return found == sets.end() ? nullptr : &*found;
}

List interval(const std::optional<double>& low, const std::optional<double>& high) {
  return {List(low), List(high)};
}

List as_json(const EnergySummary& s) {
  List quantiles = List::object();
  for (std::size_t i = 0; i < s.quantiles.size(); ++i) {
    quantiles[fmt::format("{}", told_quantiles[i])] = s.quantiles[i];
  }
  return {{"name", s.name},
          {"data", s.data},
          {"split", s.split},
          {"states", s.states},
          {"available", s.available},
          {"mean", s.mean.value},
          {"mean_interval_95", interval(s.mean.low, s.mean.high)},
          {"deviation", s.deviation},
          {"min", s.lowest},
          {"max", s.highest},
          {"quantiles", quantiles},
          {"histogram", s.histogram}};
}

List as_json(const Auroc& a) {
  return {{"auroc", a.value}, {"auroc_interval_95", interval(a.low, a.high)}};
}

std::string auroc_text(const Auroc& a) {
  std::string text = fmt::format("{:.3f}", a.value);
  if (a.low) text += fmt::format(" ({:.3f} to {:.3f})", *a.low, *a.high);
  return text;
}

}  // namespace

Mean mean_of(const std::vector<double>& numbers) {
  const Moments moments(numbers);
  if (numbers.size() < 2) return {moments.mean, {}, {}};
  return with_error(moments.mean, moments.variance / moments.count);
}

double quantile(const std::vector<double>& ascending, double q) {
  const double place = q * static_cast<double>(ascending.size() - 1);
  const auto below = static_cast<std::size_t>(place);
  const double low = ascending[below], high = ascending[std::min(below + 1, ascending.size() - 1)];
  return low + (place - static_cast<double>(below)) * (high - low);
}

std::vector<std::int64_t> histogram(const std::vector<double>& numbers,
                                    const std::vector<double>& edges) {
  std::vector<std::int64_t> counts(edges.size() - 1);
  for (const double number : numbers) {
    const auto upper = std::ranges::upper_bound(edges, number) - edges.begin();
    const auto bin = std::clamp<std::ptrdiff_t>(upper - 1, 0, std::ssize(counts) - 1);
    ++counts[static_cast<std::size_t>(bin)];
  }
  return counts;
}

EnergyReport report_energies(const std::vector<EnergySet>& sets) {
  EnergyReport report;
  if (sets.empty()) return report;
  report.edges = edges_of(sets);
  for (const EnergySet& set : sets) report.sets.push_back(summarize(set, report.edges));
  const EnergySet* const seen = named(sets, training_set);
  const EnergySet* const held_out = named(sets, test_set);
  if (held_out == nullptr) return report;
  if (seen != nullptr) {
    report.gap = difference(held_out->energies, seen->energies);
    report.memorisation = auroc(seen->energies, held_out->energies);
  }
  for (const EnergySet& set : sets) {
    if (&set == seen || &set == held_out) continue;
    report.out_of_distribution.push_back({set.name, auroc(held_out->energies, set.energies)});
  }
  return report;
}

List as_json(const Mean& mean) {
  return {{"value", mean.value}, {"interval_95", interval(mean.low, mean.high)}};
}

List as_json(const EnergyUsed& used) {
  return {{"checkpoint", used.checkpoint}, {"iteration", used.iteration},
          {"weights", used.weights},       {"digest", used.digest},
          {"device", used.device},         {"arithmetic", used.arithmetic}};
}

List as_json(const EnergyReport& report) {
  List sets = List::array(), contrasts = List::array();
  for (const EnergySummary& set : report.sets) sets.push_back(as_json(set));
  for (const EnergyContrast& one : report.out_of_distribution) {
    List contrast{{"name", one.name}};
    contrast.update(as_json(one.auroc));
    contrasts.push_back(contrast);
  }
  return {{"sets", sets},
          {"edges", report.edges},
          {"gap", report.gap ? as_json(*report.gap) : List(nullptr)},
          {"memorisation", report.memorisation ? as_json(*report.memorisation) : List(nullptr)},
          {"out_of_distribution", contrasts},
          {"auroc_interval", auroc_interval},
          {"remarks", report.remarks}};
}

std::string as_text(const EnergyReport& report) {
  std::string text;
  const auto line = [&](const auto&... cells) {
    text +=
        fmt::format("{:<24} {:>7} {:>11} {:>11} {:>11} {:>11} {:>11} {:>11} {:>11}\n", cells...);
  };
  if (!report.sets.empty()) {
    line("energies", "states", "mean", "deviation", "min", "5 %", "median", "95 %", "max");
  }
  for (const EnergySummary& s : report.sets) {
    const auto number = [](double value) { return fmt::format("{:.5g}", value); };
    line(s.name, s.states, number(s.mean.value), number(s.deviation), number(s.lowest),
         number(s.quantiles[1]), number(s.quantiles[3]), number(s.quantiles[5]), number(s.highest));
  }
  if (report.gap) {
    text += fmt::format("gap, test above training: {:.4g}", report.gap->value);
    if (report.gap->low) {
      text += fmt::format(" ({:.4g} to {:.4g})", *report.gap->low, *report.gap->high);
    }
    text += fmt::format("; AUROC {}\n", auroc_text(*report.memorisation));
  }
  for (const EnergyContrast& one : report.out_of_distribution) {
    text += fmt::format("AUROC, {} above test: {}\n", one.name, auroc_text(one.auroc));
  }
  for (const std::string& remark : report.remarks) text += fmt::format("energies: {}\n", remark);
  return text;
}

}  // namespace stanley
