#include "storage/inspection.hpp"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "config/error.hpp"
#include "storage/array.hpp"
#include "storage/blocks.hpp"
#include "storage/checkpoint.hpp"
#include "storage/checkpoint_schema.hpp"
#include "storage/data_file.hpp"
#include "storage/folder.hpp"
#include "storage/hdf5.hpp"

namespace stanley {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

/// Where a draw file isn't chunked, what is read of it at a time.
constexpr std::size_t most_block_bytes = std::size_t{4} << 20;

/// A message that begins with the file's name, without it: the report says the name once.
std::string without_path(std::string message, const std::string& path) {
  for (const char* joint : {": ", " "}) {
    const std::string beginning = path + joint;
    if (message.rfind(beginning, 0) == 0) return message.substr(beginning.size());
  }
  return message;
}

/// Runs `step`; what it throws becomes a problem of the file.
template <typename Step>
void noting_problems(FileReport& report, const Step& step) {
  try {
    step();
  } catch (const std::exception& exception) {
    report.problems.push_back(without_path(as_error(exception).what(), report.path));
  }
}

FileKind kind_of(const hdf5::File& file) {
  if (hdf5::exists(file, "digests") || hdf5::exists(file, "progress")) return FileKind::checkpoint;
  if (hdf5::exists(file, "posterior") || hdf5::exists(file, "sample_stats")) return FileKind::draws;
  for (const auto& group : hdf5::list(file, "/", H5O_TYPE_GROUP)) {
    if (hdf5::exists(file, group + "/images")) return FileKind::data;
  }
  throw Error(ExitCode::input_output,
              "it is no checkpoint, draw file or data file of this program");
}

/// Rank 0 alone: what kind of file it is, as far as can be told.
void identify(FileReport& report) {
  if (is_unfinished_name(report.path)) {
    report.kind = FileKind::unfinished;
    report.problems.emplace_back("it is unfinished: its writer is at work or was cut off");
  }
  std::error_code failure;
  const auto size = fs::file_size(report.path, failure);
  if (failure) {
    report.kind = FileKind::unknown;
    report.problems = {"cannot open it: " + failure.message()};
    return;
  }
  report.bytes = static_cast<std::int64_t>(size);
  if (report.kind == FileKind::unfinished) return;
  noting_problems(report,
                  [&] { report.kind = kind_of(hdf5::File::open(report.path, hdf5::Mode::read)); });
}

// --- checkpoints ---------------------------------------------------------------------------------

void adopt(FileReport& report, const CheckpointHeader& header) {
  report.schema_version = header.schema_version;
  report.iteration = header.iteration;
  report.world_size = header.world_size;
  report.numbers = header.progress;
  report.texts = header.texts;
  for (const auto& array : header.arrays) {
    report.arrays.push_back({array.name, to_string(array.type), array.shape, array.shards});
  }
}

/// What every checkpoint of a run has.
void note_missing_parts(FileReport& report, const CheckpointHeader& header) {
  const auto has_group = [&](const std::string& group) {
    return std::any_of(header.arrays.begin(), header.arrays.end(), [&](const StoredArray& array) {
      return array.name.rfind(group + "/", 0) == 0;
    });
  };
  for (const char* group : {"parameters", "chains"}) {
    if (!has_group(group)) {
      report.problems.push_back(std::string("it is incomplete: it has no array of /") + group);
    }
  }
  if (!header.texts.contains("config")) {
    report.problems.emplace_back("it is incomplete: it has no configuration");
  }
  if (!header.progress.contains("iteration")) {
    report.problems.emplace_back("it is incomplete: it has no progress");
  }
}

/// What this rank found in its part of the arrays: {"problems": [...], "damaged": [[array,
/// shard]]}.
Json check_own_shards(const Communicator& communicator, const std::string& path,
                      const CheckpointHeader& header) {
  Json found{{"problems", Json::array()}, {"damaged", Json::array()}};
  // Each rank reads for itself: a file that goes away meanwhile leaves nobody in a collective call.
  const auto alone = make_local_communicator();
  try {
    const auto file = hdf5::File::open(path, hdf5::Mode::read);
    for (const auto& [array, shard] :
         damaged_shards(*alone, file, header, communicator.rank(), communicator.size())) {
      found["damaged"].push_back({array, shard});
    }
  } catch (const std::exception& exception) {
    found["problems"].push_back(without_path(as_error(exception).what(), path));
  }
  return found;
}

std::string damage_text(const InspectedArray& array, const std::vector<std::int64_t>& shards) {
  std::string text = "array '" + array.name + "' doesn't agree with its digest";
  if (array.shards == 0) return text;
  text += shards.size() == 1 ? " in shard " : " in shards ";
  for (std::size_t i = 0; i < shards.size(); ++i) {
    text += (i == 0 ? "" : ", ") + std::to_string(shards[i]);
  }
  return text;
}

/// Collective.
void inspect_checkpoint(Communicator& communicator, FileReport& report) {
  Json mine{{"problems", Json::array()}, {"damaged", Json::array()}};
  noting_problems(report, [&] {
    const CheckpointHeader header = read_checkpoint_header(report.path);
    adopt(report, header);
    note_missing_parts(report, header);
    mine = check_own_shards(communicator, report.path, header);
  });
  // A rank that can't see what rank 0 sees says so too.
  if (communicator.rank() > 0 && report.arrays.empty()) mine["problems"] = report.problems;
  std::map<std::size_t, std::vector<std::int64_t>> damaged;
  for (const auto& text :
       communicator.all_gather(mine.dump(-1, ' ', false, Json::error_handler_t::replace))) {
    const Json theirs = Json::parse(text);
    for (const auto& problem : theirs["problems"]) {
      const std::string words = problem;
      const auto known = std::find(report.problems.begin(), report.problems.end(), words);
      if (known == report.problems.end()) report.problems.push_back(words);
    }
    for (const auto& pair : theirs["damaged"]) damaged[pair[0]].push_back(pair[1]);
  }
  for (const auto& [array, shards] : damaged) {
    if (array >= report.arrays.size()) continue;
    report.arrays[array].damaged = true;
    report.problems.push_back(damage_text(report.arrays[array], shards));
  }
}

// --- draw files and data files, rank 0 alone -----------------------------------------------------

/// Reads every block, which makes HDF5 check the chunks' checksums.
void read_through(const hdf5::Dataset& dataset) {
  std::vector<std::byte> buffer;
  const std::size_t bytes = element_bytes(dataset.type());
  hdf5::for_each_block(dataset.shape(), hdf5::chunk_or_block_shape(dataset, most_block_bytes),
                       [&](const hdf5::Block& block) {
                         buffer.resize(block.elements() * bytes);
                         hdf5::read_block(dataset, block, buffer.data());
                       });
}

void inspect_draw_array(FileReport& report, const hdf5::File& file, const std::string& name) {
  InspectedArray array{.name = name};
  const std::size_t before = report.problems.size();
  noting_problems(report, [&] {
    const hdf5::Dataset dataset(file, name);
    array.shape = dataset.shape();
    array.type = to_string(dataset.type());
    read_through(dataset);
  });
  array.damaged = report.problems.size() > before;
  report.arrays.push_back(array);
}

/// posterior/x (chain, draw, ...) and the rest of the same chains and draws.
void note_misfits(FileReport& report) {
  const auto states = std::find_if(report.arrays.begin(), report.arrays.end(),
                                   [](const auto& array) { return array.name == "posterior/x"; });
  if (states == report.arrays.end() || states->shape.size() < 3) {
    report.problems.emplace_back(
        "it is incomplete: it has no array posterior/x (chain, draw, state...)");
    return;
  }
  for (const auto& array : report.arrays) {
    if (array.name.rfind("sample_stats/", 0) != 0 || array.shape.size() < 2) continue;
    if (std::equal(array.shape.begin(), array.shape.begin() + 2, states->shape.begin())) continue;
    report.problems.push_back("array '" + array.name + "' of shape " + shape_text(array.shape) +
                              " doesn't fit posterior/x of shape " + shape_text(states->shape));
  }
}

void read_attributes(FileReport& report, const hdf5::File& file) {
  const auto root = hdf5::open_object(file, "/");
  for (const auto& name : hdf5::attribute_names(root.id())) {
    if (hdf5::is_text(root.id(), name)) {
      report.texts[name] = hdf5::read_text(root.id(), name).value_or("");
    } else if (hdf5::is_integer(root.id(), name)) {
      report.numbers[name] = hdf5::read_integer(root.id(), name).value_or(0);
    } else if (const auto values = hdf5::read_numbers(root.id(), name); !values->empty()) {
      report.numbers[name] = values->front();
    }
  }
  if (report.texts.contains("schema_version")) {
    report.schema_version = report.texts["schema_version"];
    report.texts.erase("schema_version");
    check_schema_major(report.path, report.schema_version);
  }
  const auto iteration = report.numbers.find("iteration");
  if (iteration == report.numbers.end()) return;
  if (const auto* number = std::get_if<std::int64_t>(&iteration->second)) {
    report.iteration = *number;
    report.numbers.erase(iteration);
  }
}

void inspect_draws(FileReport& report) {
  const auto file = hdf5::File::open(report.path, hdf5::Mode::read);
  for (const auto& name : hdf5::list_all_datasets(file, "/")) {
    inspect_draw_array(report, file, name);
  }
  note_misfits(report);
  // Last, and of a sound file only: HDF5 1.10 may crash over damaged texts of variable length.
  if (report.verified()) read_attributes(report, file);
}

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
    if (!file.has_labels(split)) continue;
    report.arrays.push_back(
        {.name = split + "/labels", .type = "int64", .shape = {file.shape(split)[0]}});
  }
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

FileReport inspect_file(Communicator& communicator, const std::string& path) {
  FileReport report{.path = path};
  if (communicator.rank() == 0) identify(report);
  const bool checkpoint = report.kind == FileKind::checkpoint;
  if (communicator.max(checkpoint ? 1 : 0) > 0) {
    report.kind = FileKind::checkpoint;
    inspect_checkpoint(communicator, report);
  } else if (report.kind == FileKind::draws) {
    noting_problems(report, [&] { inspect_draws(report); });
  } else if (report.kind == FileKind::data) {
    noting_problems(report, [&] { inspect_data(report); });
  }
  return report;
}

}  // namespace stanley
