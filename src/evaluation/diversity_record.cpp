#include "evaluation/diversity_record.hpp"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "config/error.hpp"
#include "storage/json_values.hpp"

namespace stanley {
namespace {

using Json = nlohmann::ordered_json;  // keeps the order of keys

Json as_json(const ClassHistogram& h) {
  return {{"images", h.images},
          {"shares", h.shares},
          {"entropy", h.entropy},
          {"confident", h.confident}};
}

Json as_json(const ClassesFound& c) {
  Json labels;
  if (c.labels) {
    labels = as_json(*c.labels);
    labels.erase("confident");
  }
  Json by_age = Json::array();
  for (const ClassesByAge& one : c.by_age) {
    by_age.push_back({{"name", one.name},
                      {"ages", one.ages},
                      {"states", as_json(one.states)},
                      {"total_variation", one.variation},
                      {"total_variation_by_chance", one.variation_by_chance}});
  }
  return {{"classifier", c.classifier},
          {"digest", c.digest},
          {"names", c.names},
          {"confident_from", confident_from},
          {"states", as_json(c.states)},
          {"reference", as_json(c.reference)},
          {"labels", labels},
          {"right", c.right},
          {"total_variation", c.variation},
          {"total_variation_by_chance", c.variation_by_chance},
          {"by_age", by_age}};
}

Json as_json(const NearestDistances& d) {
  return {{"states", d.states},
          {"reference", d.reference},
          {"levels", quantile_levels},
          {"quantiles_of_states", d.of_states},
          {"quantiles_of_reference", d.of_reference},
          {"nearer_than_median", d.nearer_than_median},
          {"nearer_than_5_percent", d.nearer_than_5_percent},
          {"copies", d.copies}};
}

Json as_json(const std::vector<NearestPair>& pairs, const char* number) {
  Json list = Json::array();
  for (const NearestPair& one : pairs) {
    list.push_back({{number, one.number}, {"training", one.training}, {"distance", one.distance}});
  }
  return list;
}

Json as_json(const NeighboursFound& n) {
  Json by_age = Json::array();
  for (const DistancesByAge& one : n.by_age) {
    by_age.push_back(
        {{"name", one.name}, {"ages", one.ages}, {"to_training", as_json(one.to_training)}});
  }
  return {{"split", n.split},
          {"data_digest", n.data_digest},
          {"training", n.training},
          {"to_training", as_json(n.to_training)},
          {"by_age", by_age},
          {"to_others", n.to_others ? as_json(*n.to_others) : Json()},
          {"pairs",
           {{"nearest", as_json(n.nearest, "state")},
            {"states", as_json(n.states, "state")},
            {"reference", as_json(n.reference, "image")}}}};
}

std::string percent(double share) { return fmt::format("{:.1f} %", 100 * share); }

std::string text_of(const ClassesFound& c) {
  std::string text =
      fmt::format("\nclasses as {} sees them{}{}\n", printable(c.classifier),
                  c.right ? ", right on " + percent(*c.right) + " of the reference" : std::string(),
                  c.by_age.empty() ? "" : "; to the right: states by the ages of their chains");
  const auto line = [&](const auto& name, const auto& states, const auto& reference,
                        const auto& labels, const auto& of_age) {
    text += fmt::format("{:<24} {:>10} {:>10} {:>10}", name, states, reference, labels);
    for (const ClassesByAge& one : c.by_age) text += fmt::format(" {:>15}", of_age(one));
    text += "\n";
  };
  const auto line_of_all = [&](const auto& name, const auto& number) {
    line(name, number(c.states), number(c.reference),
         c.labels ? number(*c.labels) : std::string("–"),
         [&](const ClassesByAge& one) { return number(one.states); });
  };
  const auto decimal = [](double number) { return fmt::format("{:.3f}", number); };
  line("", "states", "reference", "labels",
       [](const ClassesByAge& one) { return fmt::format("{}–{}", one.ages[0], one.ages[1]); });
  for (std::size_t i = 0; i < c.names.size(); ++i) {
    line_of_all(printable(c.names[i]),
                [&](const ClassHistogram& h) { return percent(h.shares[i]); });
  }
  line_of_all("entropy", [&](const ClassHistogram& h) { return decimal(h.entropy); });
  line(fmt::format("sure (p from {})", confident_from), percent(c.states.confident),
       percent(c.reference.confident), "",
       [](const ClassesByAge& one) { return percent(one.states.confident); });
  line("total variation", decimal(c.variation), "", "",
       [&](const ClassesByAge& one) { return decimal(one.variation); });
  line("  by chance", decimal(c.variation_by_chance), "", "",
       [&](const ClassesByAge& one) { return decimal(one.variation_by_chance); });
  return text;
}

std::string quantiles_text(const std::array<double, quantile_levels.size()>& q) {
  return fmt::format("{:.3g} ({:.3g} to {:.3g})", q[3], q[1], q[5]);
}

std::string text_of(const NearestDistances& d, const std::string& what) {
  return fmt::format(
      "distance to the nearest {}, median (5 to 95 %): states {}, reference {}\n"
      "  {} of the states are nearer than the reference's median (50 % by chance), {} than its 5 % "
      "quantile (5 %); {} are copies\n",
      what, quantiles_text(d.of_states), quantiles_text(d.of_reference),
      percent(d.nearer_than_median), percent(d.nearer_than_5_percent), d.copies);
}

std::string text_of(const NeighboursFound& n) {
  std::string text =
      "\n" + text_of(n.to_training, fmt::format("of {} images of split '{}'", n.training, n.split));
  for (const DistancesByAge& one : n.by_age) {
    const NearestDistances& d = one.to_training;
    text += fmt::format("  {}: states {}; {} and {} are nearer; {} are copies\n", one.name,
                        quantiles_text(d.of_states), percent(d.nearer_than_median),
                        percent(d.nearer_than_5_percent), d.copies);
  }
  if (n.to_others) {
    text += text_of(*n.to_others, fmt::format("other one of {}", n.to_others->states));
  }
  return text;
}

}  // namespace

void to_json(Json& json, const Diversity& diversity) {
  json = Json::object();
  if (diversity.classes) json["classes"] = as_json(*diversity.classes);
  if (diversity.neighbours) json["neighbours"] = as_json(*diversity.neighbours);
}

std::string as_text(const Diversity& diversity) {
  std::string text;
  if (diversity.classes) text += text_of(*diversity.classes);
  if (diversity.neighbours) text += text_of(*diversity.neighbours);
  return text;
}

void keep_older(Json& diversity, const Json& older) {
  for (const char* part : {"classes", "neighbours"}) {
    if (!diversity.contains(part) && older.contains(part)) diversity[part] = older[part];
  }
}

}  // namespace stanley
