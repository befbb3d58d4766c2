#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <variant>

#include "storage/checkpoint.hpp"
#include "storage/checkpoint_schema.hpp"
#include "storage/inspect_kinds.hpp"

namespace stanley {
namespace {

using Json = nlohmann::json;

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
  if (!has_group("parameters")) {
    report.problems.emplace_back("it is incomplete: it has no array of /parameters");
  }
  for (const char* array : {"chains/state", "chains/age", "chains/restarts"}) {
    if (header.find(array) == nullptr) {
      report.problems.push_back(std::string("it is incomplete: it has no array /") + array);
    }
  }
  if (!header.texts.contains("config")) {
    report.problems.emplace_back("it is incomplete: it has no configuration");
  }
  const auto progress = header.progress.find("iteration");
  if (progress == header.progress.end()) {
    report.problems.emplace_back("it is incomplete: it has no progress");
  } else if (header.iteration < 0 || !std::holds_alternative<std::int64_t>(progress->second) ||
             std::get<std::int64_t>(progress->second) != header.iteration) {
    report.problems.emplace_back("its progress is not that of its iteration");
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
    for (const Kind kind : {Kind::sharded, Kind::replicated}) {
      for (const auto& [array, shard] : damaged_shards(
               *alone, file, header, kind, communicator.rank(), communicator.size(), {})) {
        found["damaged"].push_back({array, shard});
      }
    }
  } catch (const std::exception& exception) {
    found["problems"].push_back(without_path(as_error(exception).what(), path));
  }
  return found;
}

}  // namespace

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
      if (std::ranges::count(report.problems, words) == 0) report.problems.push_back(words);
    }
    for (const auto& pair : theirs["damaged"]) damaged[pair[0]].push_back(pair[1]);
  }
  for (const auto& [array, shards] : damaged) {
    if (array >= report.arrays.size()) continue;
    report.arrays[array].damaged = true;
    const bool sharded = report.arrays[array].shards > 0;
    report.problems.push_back(
        damage_text(report.arrays[array].name, sharded ? shards : std::vector<std::int64_t>{}));
  }
}

}  // namespace stanley
