#include <algorithm>
#include <map>
#include <utility>
#include <variant>

#include "storage/checkpoint.hpp"
#include "storage/checkpoint_schema.hpp"
#include "storage/inspect_kinds.hpp"
#include "storage/json_values.hpp"

namespace stanley {
namespace {

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
  const auto require = [&](bool there, const std::string& what) {
    if (!there) report.problems.push_back("it is incomplete: it has no " + what);
    return there;
  };
  const auto is_weight = [](const auto& array) { return array.name.starts_with("parameters/"); };
  std::vector<std::string> arrays{"chains/state"};
  if (header.text("kind") != "sampling") {  // whose energy is another file's, and no chain restarts
    require(std::ranges::any_of(header.arrays, is_weight), "array of /parameters");
    arrays.insert(arrays.end(), {"chains/age", "chains/restarts"});
  }
  for (const std::string& array : arrays) {
    require(header.find(array) != nullptr, "array /" + array);
  }
  require(header.texts.contains("config"), "configuration");
  if (!require(header.progress.contains("iteration"), "progress")) return;
  const Progress::mapped_type iteration = header.iteration;
  if (header.iteration >= 0 && header.progress.at("iteration") == iteration) return;
  report.problems.emplace_back("its progress is not that of its iteration");
}

/// What a rank found: what is wrong in words, and damaged shards of arrays (by their places).
struct Findings {
  std::vector<std::string> problems{};
  std::vector<std::pair<std::size_t, std::int64_t>> damaged{};
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Findings, problems, damaged)

/// What this rank finds in its part of the arrays.
Findings check_own_shards(const Communicator& communicator, const std::string& path,
                          const CheckpointHeader& header) {
  Findings found;
  // Each rank reads for itself: a file that goes away meanwhile leaves nobody in a collective call.
  const auto alone = make_local_communicator();
  try {
    const auto file = hdf5::File::open(path, hdf5::Mode::read);
    for (const Kind kind : {Kind::sharded, Kind::replicated}) {
      for (const auto& [array, shard] : damaged_shards(
               *alone, file, header, kind, communicator.rank(), communicator.size(), {})) {
        found.damaged.emplace_back(array, shard);
      }
    }
  } catch (const std::exception& exception) {
    found.problems.push_back(without_path(as_error(exception).what(), path));
  }
  return found;
}

}  // namespace

CheckpointHeader describe_checkpoint(FileReport& report) {
  CheckpointHeader header = read_checkpoint_header(report.path);
  adopt(report, header);
  note_missing_parts(report, header);
  return header;
}

void inspect_checkpoint(Communicator& communicator, FileReport& report) {
  Findings mine;
  noting_problems(report, [&] {
    const CheckpointHeader header = describe_checkpoint(report);
    mine = check_own_shards(communicator, report.path, header);
  });
  // A rank that can't see what rank 0 sees says so too.
  if (communicator.rank() > 0 && report.arrays.empty()) mine.problems = report.problems;
  std::map<std::size_t, std::vector<std::int64_t>> damaged;
  for (const auto& text : communicator.all_gather(to_bytes(mine))) {
    const auto theirs = from_bytes<Findings>(text);
    for (const auto& problem : theirs.problems) {
      if (std::ranges::count(report.problems, problem) == 0) report.problems.push_back(problem);
    }
    for (const auto& [array, shard] : theirs.damaged) damaged[array].push_back(shard);
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
