#include "storage/file_report.hpp"

#include <array>
#include <cstddef>

#include "storage/json_values.hpp"

namespace stanley {

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(InspectedArray, name, type, shape, shards, damaged)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(FileReport, path, kind, bytes, schema_version, iteration,
                                   world_size, numbers, texts, arrays, problems, notes, crashed)

const char* to_string(FileKind kind) {
  constexpr std::array names{"checkpoint", "draws", "data", "unfinished", "unknown"};
  return names.at(static_cast<std::size_t>(kind));
}

std::string pack(const FileReport& report) {
  const auto bytes = nlohmann::json::to_cbor(report);
  return {bytes.begin(), bytes.end()};
}

FileReport unpack(const std::string& bytes) { return nlohmann::json::from_cbor(bytes); }

}  // namespace stanley
