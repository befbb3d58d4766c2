#include "evaluation/result.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "config/error.hpp"
#include "run/directory.hpp"
#include "run/record.hpp"
#include "run/version.hpp"
#include "storage/json_values.hpp"

namespace stanley {
namespace {

using List = nlohmann::ordered_json;  // keeps the order of keys

constexpr const char* list_format = "stanley-evaluation";
constexpr int list_version = 1;

List as_json(const Protocol& p) {
  return {{"name", p.name},
          {"features", p.features},
          {"features_digest", p.features_digest},
          {"dimension", p.dimension},
          {"data", p.data},
          {"data_digest", p.data_digest},
          {"split", p.split},
          {"reference", p.reference_count},
          {"range", p.range},
          {"kernel", fmt::format("(x.y/{} + 1)^3", p.dimension)},
          {"neighbours", 5},
          {"jackknife_groups", p.groups}};
}

List as_json(const ClassResult& c) {
  return {{"name", c.name},
          {"states", c.states},
          {"ages", c.ages},
          {"kid", c.kid},
          {"kid_interval_95", {List(c.kid_low), List(c.kid_high)}},
          {"fid", c.fid},
          {"fid_extrapolated", c.fid_extrapolated},
          {"precision", c.precision},
          {"recall", c.recall},
          {"density", c.density},
          {"coverage", c.coverage},
          {"remarks", c.remarks}};
}

List as_json(const Evaluation& e) {
  List classes = List::array();
  for (const ClassResult& one : e.classes) classes.push_back(as_json(one));
  return {{"path", e.path},
          {"kind", e.kind},
          {"iteration", e.iteration},
          {"states", e.states},
          {"states_available", e.available},
          {"chains", e.chains},
          {"shape", e.shape},
          {"protocol", as_json(e.protocol)},
          {"results", classes},
          {"seconds", e.seconds},
          {"time", utc_now()},
          {"version", build_version},
          {"commit", build_commit}};
}

List read_list(const std::string& path) {
  const std::string text = read_text(path);
  if (text.empty())
    return {{"format", list_format}, {"version", list_version}, {"evaluations", List::array()}};
  const List list = List::parse(text, nullptr, /*allow_exceptions=*/false);
  const bool ours = list.is_object() && list.value("format", "") == list_format &&
                    list.value("version", 0) == list_version && list.contains("evaluations") &&
                    list.at("evaluations").is_array();
  if (ours) return list;
  throw FileError(
      fmt::format("{} is there and is no list of evaluations of this release: move it, "
                  "or choose another name with --output",
                  path));
}

/// What makes two results answers to the same question.
List key_of(const List& evaluation) {
  List protocol = evaluation.value("protocol", List::object());
  return {evaluation.value("path", ""), protocol, evaluation.value("states", 0)};
}

std::string cell(const std::optional<double>& number, double scale, int digits) {
  return number ? fmt::format("{:.{}f}", *number * scale, digits) : "–";
}

std::string kid_cell(const ClassResult& c) {
  std::string text = cell(c.kid, 1000, 1);
  if (c.kid_low) text += fmt::format(" ({:.1f} to {:.1f})", *c.kid_low * 1000, *c.kid_high * 1000);
  return text;
}

std::string fid_cell(const ClassResult& c) {
  std::string text = cell(c.fid, 1, 2);
  if (c.fid_extrapolated) text += fmt::format(" (∞: {:.2f})", *c.fid_extrapolated);
  return text;
}

}  // namespace

std::string as_text(const Evaluation& e) {
  std::string text = fmt::format(
      "{}: {} of {} states of {} chains against {} of split '{}' of {}\n"
      "protocol {}: features {} ({}), digest {}\n\n",
      e.path, e.states, e.available, e.chains, e.protocol.reference_count, e.protocol.split,
      e.protocol.data, e.protocol.name, e.protocol.features, e.protocol.dimension,
      e.protocol.features_digest);
  const auto line = [&](const auto&... cells) {
    text += fmt::format("{:<24}{:>8}{:>28}{:>22}{:>11}{:>8}{:>9}{:>10}\n", cells...);
  };
  line("", "states", "KID·1000 (95 %)", "FID", "precision", "recall", "density", "coverage");
  for (const ClassResult& c : e.classes) {
    line(c.name, c.states, kid_cell(c), fid_cell(c), cell(c.precision, 1, 3), cell(c.recall, 1, 3),
         cell(c.density, 1, 3), cell(c.coverage, 1, 3));
  }
  for (const ClassResult& c : e.classes) {
    for (const std::string& remark : c.remarks) text += fmt::format("{}: {}\n", c.name, remark);
  }
  return text;
}

void check_list(const std::string& output) {
  read_list(output);
  const std::filesystem::path folder = std::filesystem::path(output).parent_path();
  if (::access(folder.empty() ? "." : folder.c_str(), W_OK) == 0) return;
  throw FileError(fmt::format("{} can't be written ({}): choose another place with --output",
                              output, std::strerror(errno)));
}

void record(const Evaluation& evaluation, const std::string& output) {
  List list = read_list(output);
  const List result = as_json(evaluation);
  List kept = List::array();
  for (const List& one : list["evaluations"]) {
    if (key_of(one) != key_of(result)) kept.push_back(one);
  }
  kept.push_back(result);
  list["evaluations"] = kept;
  replace_file(output, list.dump(2) + "\n");
}

}  // namespace stanley
