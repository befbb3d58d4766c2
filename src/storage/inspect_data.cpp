#include <fmt/ranges.h>

#include "storage/data_file.hpp"
#include "storage/inspect_kinds.hpp"

namespace stanley {

void inspect_data(FileReport& report, const Progressed& progressed) {
  const DataFile file(report.path);
  report.schema_version = file.schema_version();
  report.numbers = {{"lowest", file.lowest()}, {"highest", file.highest()}};
  report.texts["provenance"] = file.provenance();
  if (!file.class_names().empty()) {
    report.texts["class_names"] = fmt::format("{}", fmt::join(file.class_names(), ", "));
  }
  for (const auto& split : file.splits()) {
    inspect_array(report, file.stored(split + "/images"),
                  [&](const auto&) { file.verify_images(split, progressed); });
    if (!file.has_checksum(split)) {
      report.notes.push_back("array '" + split + "/images' has no checksum");
    }
    if (!file.has_labels(split)) continue;
    inspect_array(report, file.stored(split + "/labels"),
                  [&](const auto&) { file.verify_labels(split, progressed); });
  }
}

}  // namespace stanley
