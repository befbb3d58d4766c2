#include "storage/inspection.hpp"

#include <array>
#include <filesystem>

#include "storage/child.hpp"
#include "storage/folder.hpp"
#include "storage/inspect_kinds.hpp"
#include "storage/json_values.hpp"
#include "storage/seal.hpp"

namespace stanley {

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(InspectedArray, name, type, shape, shards, damaged)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(FileReport, path, kind, bytes, schema_version, iteration,
                                   world_size, numbers, texts, arrays, problems, notes, crashed)

namespace {

namespace fs = std::filesystem;

FileKind kind_of(const hdf5::File& file) {
  if (hdf5::exists(file, "digests") || hdf5::exists(file, "progress")) return FileKind::checkpoint;
  if (hdf5::exists(file, "posterior") || hdf5::exists(file, "sample_stats")) return FileKind::draws;
  for (const auto& group : hdf5::list(file, "/", H5O_TYPE_GROUP)) {
    if (hdf5::exists(file, group + "/images")) return FileKind::data;
  }
  throw FileError("it is no checkpoint, draw file or data file of this program");
}

/// Empty where the file has none that is a text.
std::string schema_version_of(const hdf5::File& file) {
  const auto root = hdf5::open_object(file, "/");
  if (hdf5::attribute_class(root.id(), "schema_version") != H5T_STRING) return "";
  return hdf5::read_text(root.id(), "schema_version").value_or("");
}

/// Whether there is a finished file to look into; notes its size.
bool is_readable(FileReport& report) {
  if (is_unfinished_name(report.path)) {
    report.kind = FileKind::unfinished;
    report.problems.emplace_back("it is unfinished: its writer is at work or was cut off");
  }
  std::error_code failure;
  const auto size = fs::file_size(report.path, failure);
  if (failure) {
    std::error_code ignored;
    const bool other =
        fs::exists(report.path, ignored) && !fs::is_regular_file(report.path, ignored);
    report.kind = FileKind::unknown;
    report.problems = {"cannot open it: " + (other ? "it is no regular file" : failure.message())};
    return false;
  }
  report.bytes = static_cast<std::int64_t>(size);
  return report.kind != FileKind::unfinished;
}

/// In a child: the file's kind, and all the rest of files that one rank reads.
void survey(FileReport& report, const Send& send) {
  const Progressed piece = [] { prolong_child(piece_seconds); };
  prolong_child(description_seconds);
  noting_problems(report, [&] {
    const auto file = hdf5::File::open(report.path, hdf5::Mode::read);
    report.kind = kind_of(file);
    report.schema_version = schema_version_of(file);
    send(to_bytes(report));
    if (report.kind == FileKind::draws) inspect_draws(report, file, piece);
  });
  if (report.kind == FileKind::data) {
    noting_problems(report, [&] { inspect_data(report, piece); });
  }
  send(to_bytes(report));
}

/// In a child: the file as a checkpoint, but for its arrays.
void describe(FileReport& report, const Send& send) {
  prolong_child(description_seconds);
  noting_problems(report, [&] { describe_checkpoint(report); });
  send(to_bytes(report));
}

/// Rank 0 alone. HDF5 may crash over a damaged file, and this process must not: `step` reports in a
/// process of its own.
template <typename Step>
void report_in_child(FileReport& report, const Step& step) {
  const ChildReport child = in_child([&](const Send& send) { step(report, send); });
  if (!child.last.empty()) report = from_bytes<FileReport>(child.last);
  if (child.crash.empty()) return;
  report.crashed = true;
  report.problems.push_back(damage_of_crash(child));
}

/// Rank 0 alone: all that one rank can say of a file. Returns what is wrong with its seal.
std::string inspect_alone(FileReport& report) {
  if (!is_readable(report)) return "";
  const Seal seal = check_seal(report.path);
  report_in_child(report, survey);
  if (seal == Seal::none) report.notes.emplace_back("names, shapes and attributes have no seal");
  return seal_problem(seal, report.schema_version);
}

}  // namespace

const char* to_string(FileKind kind) {
  constexpr std::array names{"checkpoint", "draws", "data", "unfinished", "unknown"};
  return names.at(static_cast<std::size_t>(kind));
}

std::string without_path(std::string message, const std::string& path) {
  for (const char* joint : {": ", " "}) {
    const std::string beginning = path + joint;
    if (message.starts_with(beginning)) return message.substr(beginning.size());
  }
  return message;
}

FileReport inspect_file(Communicator& communicator, const std::string& path) {
  FileReport report{.path = communicator.broadcast(followed(path), 0)};
  std::string unsealed;
  if (communicator.rank() == 0) {
    noting_problems(report, [&] { unsealed = inspect_alone(report); });
  }
  const bool checkpoint = report.kind == FileKind::checkpoint && !report.crashed;
  if (communicator.max(checkpoint ? 1 : 0) > 0) {
    report.kind = FileKind::checkpoint;
    inspect_checkpoint(communicator, report);
  }
  // Last: what was found besides says better what is wrong.
  if (!unsealed.empty()) report.problems.push_back(unsealed);
  report.path = path;
  return report;
}

FileReport inspect_checkpoint_header(const std::string& path) {
  FileReport report{.path = path, .kind = FileKind::checkpoint};
  noting_problems(report, [&] {
    if (!is_readable(report)) return;
    const Seal seal = check_seal(path);
    report_in_child(report, describe);
    const std::string unsealed = seal_problem(seal, report.schema_version);
    if (!unsealed.empty()) report.problems.push_back(unsealed);
  });
  return report;
}

}  // namespace stanley
