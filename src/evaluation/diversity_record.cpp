#include "evaluation/diversity_record.hpp"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

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
  return {{"classifier", c.classifier},
          {"digest", c.digest},
          {"names", c.names},
          {"confident_from", confident_from},
          {"states", as_json(c.states)},
          {"reference", as_json(c.reference)},
          {"labels", labels},
          {"right", c.right},
          {"total_variation", c.variation},
          {"total_variation_by_chance", c.variation_by_chance}};
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
  return {{"split", n.split},
          {"data_digest", n.data_digest},
          {"training", n.training},
          {"to_training", as_json(n.to_training)},
          {"to_others", n.to_others ? as_json(*n.to_others) : Json()},
          {"pairs",
           {{"nearest", as_json(n.nearest, "state")},
            {"states", as_json(n.states, "state")},
            {"reference", as_json(n.reference, "image")}}}};
}

std::string percent(double share) { return fmt::format("{:.1f} %", 100 * share); }

std::string text_of(const ClassesFound& c) {
  std::string text = fmt::format(
      "\nclasses as {} sees them{}\n", c.classifier,
      c.right ? ", right on " + percent(*c.right) + " of the reference" : std::string());
  const auto line = [&](const auto&... cells) {
    text += fmt::format("{:<24} {:>10} {:>10} {:>10}\n", cells...);
  };
  const auto of_labels = [&](const auto& number) {
    return c.labels ? number(*c.labels) : std::string("–");
  };
  line("", "states", "reference", "labels");
  for (std::size_t i = 0; i < c.names.size(); ++i) {
    const auto share = [&](const ClassHistogram& h) { return percent(h.shares[i]); };
    line(c.names[i], share(c.states), share(c.reference), of_labels(share));
  }
  const auto entropy = [](const ClassHistogram& h) { return fmt::format("{:.3f}", h.entropy); };
  line("entropy", entropy(c.states), entropy(c.reference), of_labels(entropy));
  line(fmt::format("sure (p from {})", confident_from), percent(c.states.confident),
       percent(c.reference.confident), "");
  return text + fmt::format("total variation of states and reference {:.3f} ({:.3f} by chance)\n",
                            c.variation, c.variation_by_chance);
}

std::string text_of(const NearestDistances& d, const std::string& what) {
  const auto quantiles = [](const auto& q) {
    return fmt::format("{:.3g} ({:.3g} to {:.3g})", q[3], q[1], q[5]);
  };
  return fmt::format(
      "distance to the nearest {}, median (5 to 95 %): states {}, reference {}\n"
      "  {} of the states are nearer than the reference's median (50 % by chance), {} than its 5 % "
      "quantile (5 %); {} are copies\n",
      what, quantiles(d.of_states), quantiles(d.of_reference), percent(d.nearer_than_median),
      percent(d.nearer_than_5_percent), d.copies);
}

std::string text_of(const NeighboursFound& n) {
  std::string text =
      "\n" + text_of(n.to_training, fmt::format("of {} images of split '{}'", n.training, n.split));
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
