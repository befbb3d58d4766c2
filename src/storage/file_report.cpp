#include "storage/file_report.hpp"

#include "storage/numbers_json.hpp"

namespace stanley {
namespace {

using Json = nlohmann::json;

template <typename Value>
Json optional_json(const std::optional<Value>& value) {
  return value ? Json(*value) : Json(nullptr);
}

std::optional<std::int64_t> optional_number(const Json& value) {
  if (value.is_null()) return std::nullopt;
  return value.get<std::int64_t>();
}

}  // namespace

const char* to_string(FileKind kind) {
  switch (kind) {
    case FileKind::checkpoint:
      return "checkpoint";
    case FileKind::draws:
      return "draws";
    case FileKind::data:
      return "data";
    case FileKind::unfinished:
      return "unfinished";
    case FileKind::unknown:
      break;
  }
  return "unknown";
}

std::string pack(const FileReport& report) {
  Json arrays = Json::array();
  for (const auto& array : report.arrays) {
    arrays.push_back({array.name, array.type, array.shape, array.shards, array.damaged});
  }
  const Json all{{"path", report.path},
                 {"kind", static_cast<int>(report.kind)},
                 {"bytes", report.bytes},
                 {"schema_version", report.schema_version},
                 {"iteration", optional_json(report.iteration)},
                 {"world_size", optional_json(report.world_size)},
                 {"numbers", numbers_json(report.numbers)},
                 {"texts", report.texts},
                 {"arrays", arrays},
                 {"problems", report.problems},
                 {"notes", report.notes},
                 {"crashed", report.crashed}};
  const auto bytes = Json::to_cbor(all);
  return {bytes.begin(), bytes.end()};
}

FileReport unpack(const std::string& bytes) {
  const Json all = Json::from_cbor(bytes);
  FileReport report{.path = all.at("path"),
                    .kind = static_cast<FileKind>(all.at("kind").get<int>()),
                    .bytes = all.at("bytes"),
                    .schema_version = all.at("schema_version"),
                    .iteration = optional_number(all.at("iteration")),
                    .world_size = optional_number(all.at("world_size")),
                    .numbers = numbers_from(all.at("numbers")),
                    .texts = all.at("texts").get<std::map<std::string, std::string>>(),
                    .problems = all.at("problems").get<std::vector<std::string>>(),
                    .notes = all.at("notes").get<std::vector<std::string>>(),
                    .crashed = all.at("crashed")};
  for (const auto& array : all.at("arrays")) {
    report.arrays.push_back({.name = array[0],
                             .type = array[1],
                             .shape = array[2].get<std::vector<std::int64_t>>(),
                             .shards = array[3],
                             .damaged = array[4]});
  }
  return report;
}

}  // namespace stanley
