#include "storage/data_file.hpp"
#include "storage/inspect_kinds.hpp"

namespace stanley {

void inspect_data(FileReport& report) {
  const DataFile file(report.path);
  report.schema_version = file.schema_version();
  report.numbers = {{"lowest", file.lowest()}, {"highest", file.highest()}};
  report.texts["provenance"] = file.provenance();
  for (const auto& name : file.class_names()) {
    std::string& names = report.texts["class_names"];
    names += (names.empty() ? "" : ", ") + name;
  }
  for (const auto& split : file.splits()) {
    const std::size_t before = report.problems.size();
    noting_problems(report, [&] { file.verify(split); });
    report.arrays.push_back({.name = split + "/images",
                             .type = to_string(file.type(split)),
                             .shape = file.shape(split),
                             .damaged = report.problems.size() > before});
    if (!file.has_checksum(split)) {
      report.notes.push_back("array '" + split + "/images' has no checksum");
    }
    if (!file.has_labels(split)) continue;
    report.arrays.push_back(
        {.name = split + "/labels", .type = "int64", .shape = {file.shape(split)[0]}});
  }
}

}  // namespace stanley
