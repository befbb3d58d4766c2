#include <fmt/ranges.h>

#include "storage/data_file.hpp"
#include "storage/inspect_kinds.hpp"

namespace stanley {

namespace {

/// Verifies an array by `step` and tells how it stands in the file.
template <typename Step>
void inspect_array(FileReport& report, const std::string& name, const StoredKind& stored,
                   const Step& step) {
  const std::size_t before = report.problems.size();
  noting_problems(report, step);
  report.arrays.push_back({.name = name,
                           .type = stored.type,
                           .shape = stored.shape,
                           .damaged = report.problems.size() > before});
}

}  // namespace

void inspect_data(FileReport& report, const Progressed& progressed) {
  const DataFile file(report.path);
  report.schema_version = file.schema_version();
  report.numbers = {{"lowest", file.lowest()}, {"highest", file.highest()}};
  report.texts["provenance"] = file.provenance();
  if (!file.class_names().empty()) {
    report.texts["class_names"] = fmt::format("{}", fmt::join(file.class_names(), ", "));
  }
  for (const auto& split : file.splits()) {
    inspect_array(report, split + "/images", file.images_as_stored(split),
                  [&] { file.verify_images(split, progressed); });
    if (!file.has_checksum(split)) {
      report.notes.push_back("array '" + split + "/images' has no checksum");
    }
    if (!file.has_labels(split)) continue;
    inspect_array(report, split + "/labels", file.labels_as_stored(split),
                  [&] { file.verify_labels(split, progressed); });
  }
}

}  // namespace stanley
