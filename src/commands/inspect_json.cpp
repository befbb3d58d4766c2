#include "commands/inspect_report.hpp"
#include "commands/json_report.hpp"
#include "storage/json_values.hpp"

// The reports of `stanley inspect` as a script reads them.

namespace stanley {
namespace {

using Json = ReportJson;

Json file_json(const FileReport& report) {
  Json numbers = Json::object();
  for (const auto& [name, value] : report.numbers) {
    std::visit([&, &name = name](auto number) { numbers[name] = number_json(number); }, value);
  }
  Json arrays = Json::array();
  for (const auto& array : report.arrays) {
    arrays.push_back({{"name", array.name},
                      {"type", array.type},
                      {"shape", array.shape},
                      {"shards", array.shards},
                      {"damaged", array.damaged}});
  }
  const char* values = report.kind == FileKind::checkpoint ? "progress" : "values";
  return {{"path", report.path},
          {"kind", to_string(report.kind)},
          {"verified", report.verified()},
          {"problems", report.problems},
          {"notes", report.notes},
          {"bytes", report.bytes},
          {"schema_version", report.schema_version},
          {"iteration", report.iteration},
          {"world_size", report.world_size},
          {values, numbers},
          {"texts", report.texts},
          {"arrays", arrays}};
}

Json files_json(const std::vector<FileReport>& files) {
  Json all = Json::array();
  for (const auto& file : files) all.push_back(file_json(file));
  return all;
}

Json run_json(const RunReport& report) {
  Json events = Json::array();
  for (const auto& event : report.events) {
    events.push_back({{"time", event.time},
                      {"what", event.what},
                      {"iteration", event.iteration},
                      {"detail", event.detail}});
  }
  return {{"path", report.path},
          {"kind", "run"},
          {"verified", untrusted({report}).empty()},
          {"problems", report.problems},
          {"verdict", report.verdict},
          {"iterations_done", report.done},
          {"iterations", report.planned},
          {"events", events},
          {"checkpoints", files_json(report.checkpoints)},
          {"draws", files_json(report.draws)},
          {"rejected", report.rejected},
          {"unfinished", report.unfinished}};
}

}  // namespace

std::string as_json(const std::vector<Inspected>& all) {
  Json inspected = Json::array();
  for (const auto& one : all) {
    const auto* file = std::get_if<FileReport>(&one);
    inspected.push_back(file != nullptr ? file_json(*file) : run_json(std::get<RunReport>(one)));
  }
  return dumped({{"verified", untrusted(all).empty()}, {"inspected", inspected}});
}

std::string as_json(const CheckpointDifference& difference, const std::string& first,
                    const std::string& second) {
  Json arrays = Json::array();
  for (const auto& array : difference.arrays) {
    Json one{{"name", array.name}, {"equal", array.equal()}};
    if (!array.mismatch.empty()) {
      one["mismatch"] = array.mismatch;
    } else if (!array.equal()) {
      one["elements"] = array.elements;
      one["differing"] = array.differing;
      one["largest_difference"] = number_json(array.largest);
      one["index"] = array.index;
    }
    arrays.push_back(one);
  }
  Json progress = Json::array();
  for (const auto& value : difference.progress) {
    progress.push_back({{"name", value.name},
                        {"first", value.first},
                        {"second", value.second},
                        {"clock", value.clock}});
  }
  return dumped({{"equal", difference.equal()},
                 {"paths", {first, second}},
                 {"iterations", {difference.first_iteration, difference.second_iteration}},
                 {"world_sizes", {difference.first_world_size, difference.second_world_size}},
                 {"arrays", arrays},
                 {"progress", progress},
                 {"texts", difference.texts}});
}

}  // namespace stanley
