#include "run/record.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <ctime>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "run/directory.hpp"
#include "run/version.hpp"

namespace stanley {

using OrderedJson = nlohmann::ordered_json;

namespace {

bool is_record(const OrderedJson& json) {
  if (!json.is_object()) return false;
  for (const char* list : {"starts", "stops", "rollbacks"}) {
    if (json.contains(list) && !json[list].is_array()) return false;
  }
  if (!json.contains("rollbacks") || json["rollbacks"].empty()) return true;
  const OrderedJson& last = json["rollbacks"].back();
  const auto is_number = [&](const char* key) {
    return last.contains(key) && last[key].is_number_integer();
  };
  return last.is_object() && is_number("attempt") && is_number("iteration") &&
         is_number("target") && last.contains("seen") && last["seen"].is_string();
}

}  // namespace

RunRecord::RunRecord(std::string path)
    : path_(std::move(path)), json_(std::make_unique<OrderedJson>()) {
  std::error_code ignored;
  if (std::filesystem::exists(path_, ignored)) {
    *json_ = OrderedJson::parse(read_text(path_), nullptr, false);
    was_broken_ = !is_record(*json_);
    if (!was_broken_) return;
    std::filesystem::rename(path_, path_ + ".broken", ignored);
  }
  *json_ = OrderedJson::object();
}

RunRecord::~RunRecord() = default;

void RunRecord::describe(const std::string& name, std::int64_t iterations,
                         const NetworkRecord& network, const std::string& kind) {
  const std::lock_guard lock(mutex_);
  auto& json = *json_;
  json["name"] = name;
  if (!kind.empty()) json["kind"] = kind;
  json["version"] = build_version;
  json["commit"] = build_commit;
  json["verdict"] = "running";
  json["iterations"] = iterations;
  put(network);
}

void RunRecord::change_to(const NetworkRecord& network) {
  const std::lock_guard lock(mutex_);
  put(network);
  save();
}

void RunRecord::put(const NetworkRecord& network) {
  auto& json = *json_;
  json["parameters"] = network.parameters;
  json["state_shape"] = network.state_shape;
  if (!network.stage.empty()) json["stage"] = network.stage;
}

void RunRecord::start(const StartRecord& start) {
  const std::lock_guard lock(mutex_);
  auto& json = *json_;
  OrderedJson versions{{"stanley", build_version}, {"commit", build_commit}};
  for (const auto& [library, version] : start.libraries) versions[library] = version;
  json["verdict"] = "running";
  json["starts"].push_back({{"time", utc_now()},
                            {"iteration", start.iteration},
                            {"ranks", start.ranks},
                            {"threads", start.threads},
                            {"hosts", start.hosts},
                            {"processor", start.processor},
                            {"instruction_set", start.instruction_set},
                            {"devices", start.devices},
                            {"precision", start.precision},
                            {"reduction", start.reduction},
                            {"engine", start.engine},
                            {"versions", std::move(versions)},
                            {"resumed_from", start.resumed_from}});
  save();
}

void RunRecord::waited(const std::vector<double>& by_rank, double seconds) {
  const std::lock_guard lock(mutex_);
  auto& start = (*json_)["starts"].back();
  start["seconds"] = seconds;
  start["seconds_waited"] = by_rank;
}

void RunRecord::progress(std::int64_t iteration, double chain_steps_per_second,
                         double seconds_left) {
  const std::lock_guard lock(mutex_);
  if (stopped_) return;
  (*json_)["iteration"] = iteration;
  (*json_)["progress"] = {{"time", utc_now()},
                          {"chain_steps_per_second", chain_steps_per_second},
                          {"seconds_left", seconds_left}};
  save();
}

void RunRecord::stop(const StopRecord& stop) {
  const std::lock_guard lock(mutex_);
  if (stopped_) return;
  stopped_ = true;
  auto& json = *json_;
  json["verdict"] = verdict(stop.code);
  json["exit_code"] = static_cast<int>(stop.code);
  json["iteration"] = stop.iteration;
  OrderedJson entry{{"time", utc_now()},
                    {"iteration", stop.iteration},
                    {"verdict", verdict(stop.code)},
                    {"exit_code", static_cast<int>(stop.code)},
                    {"message", stop.message}};
  if (!stop.host.empty()) entry["host"] = stop.host;
  if (!stop.asked_by.empty()) entry["asked_by"] = stop.asked_by;
  json["stops"].push_back(std::move(entry));
  save();
}

void RunRecord::roll_back(const RollBack& roll_back) {
  const std::lock_guard lock(mutex_);
  (*json_)["rollbacks"].push_back({{"time", utc_now()},
                                   {"attempt", roll_back.attempt},
                                   {"iteration", roll_back.iteration},
                                   {"target", roll_back.target},
                                   {"seen", roll_back.seen}});
  save();
}

std::string RunRecord::origin() const {
  const std::lock_guard lock(mutex_);
  const auto& json = *json_;
  if (!json.contains("starts") || json["starts"].empty()) return {};
  return json["starts"].front().value("resumed_from", "");
}

std::optional<RollBack> RunRecord::last_roll_back() const {
  const std::lock_guard lock(mutex_);
  const auto& json = *json_;
  if (!json.contains("rollbacks") || json["rollbacks"].empty()) return std::nullopt;
  const auto& last = json["rollbacks"].back();
  return RollBack{last.at("attempt"), last.at("iteration"), last.at("target"), last.at("seen")};
}

void RunRecord::save() const {
  replace_file(path_, json_->dump(2, ' ', false, OrderedJson::error_handler_t::replace) + '\n');
}

std::string verdict(ExitCode code) {
  static const std::map<ExitCode, const char*> words{
      {ExitCode::finished, "finished"},         {ExitCode::configuration, "configuration"},
      {ExitCode::environment, "environment"},   {ExitCode::diverged, "diverged"},
      {ExitCode::input_output, "input_output"}, {ExitCode::communication, "communication"},
      {ExitCode::requeue, "requeue"},           {ExitCode::bug, "bug"}};
  return words.at(code);
}

std::string utc_now() {
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr)));
}

}  // namespace stanley
