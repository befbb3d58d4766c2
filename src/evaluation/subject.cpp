#include "evaluation/subject.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <numeric>
#include <ranges>
#include <utility>

#include "config/error.hpp"
#include "parallel/agree.hpp"
#include "sampling/stored_config.hpp"
#include "storage/checkpoint.hpp"
#include "storage/folder.hpp"
#include "storage/inspection.hpp"

namespace stanley {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t age_classes = 4;

/// Collective. Whether rank 0 sees a directory there; there must be something.
bool is_directory(const std::string& path, Communicator& communicator) {
  bool found = false;
  on_first_rank(communicator, [&] {
    std::error_code ignored;
    if (!fs::exists(path, ignored)) {
      throw FileError(path + " isn't there: expected a run directory, a checkpoint or a draw file");
    }
    found = fs::is_directory(path, ignored);
  });
  return communicator.max(found ? 1 : 0) > 0;
}

std::string without_links(const std::string& path) {
  std::error_code failure;
  const fs::path resolved = fs::canonical(path, failure);
  return failure ? path : resolved.string();
}

/// What rank 0 has found in the file, as texts that it tells the others.
struct Told {
  std::string config, kind, iteration, checkpoint, weights, weights_digest, denoised;
};

Told told_by(const FileReport& report) {
  if (!report.verified()) {
    throw FileError(report.path + " is not to be trusted: " + printable(report.problems.front()));
  }
  const bool is_bank = report.kind == FileKind::checkpoint;
  if (!is_bank && report.kind != FileKind::draws) {
    throw FileError(report.path +
                    " is a data file: expected a run directory, a checkpoint or a draw file");
  }
  const auto config = report.texts.find(is_bank ? "config" : "configuration");
  if (config == report.texts.end()) {
    throw FileError(
        report.path +
        " holds no configuration; it was not written by this program: give its root an attribute "
        "'configuration', what stanley config CONFIG --resolved prints for a run with states of "
        "that shape and range");
  }
  const auto text = [&](const char* name) {
    const auto found = report.texts.find(name);
    return is_bank || found == report.texts.end() ? "" : found->second;
  };
  return {config->second,
          to_string(report.kind),
          report.iteration ? std::to_string(*report.iteration) : "",
          text("checkpoint"),
          text("weights"),
          text("weights_digest"),
          text("denoise")};
}

std::vector<std::int64_t> classes_of(const std::vector<std::int64_t>& ages) {
  std::vector<std::int64_t> sorted = ages, limits;
  std::ranges::sort(sorted);
  for (std::int64_t i = 1; i < age_classes; ++i) {
    const std::int64_t limit = sorted[sorted.size() * static_cast<std::size_t>(i) / age_classes];
    if (limit > sorted.front() && (limits.empty() || limit > limits.back())) {
      limits.push_back(limit);
    }
  }
  std::vector<std::int64_t> classes;
  for (const std::int64_t age : ages) {
    classes.push_back(std::ranges::upper_bound(limits, age) - limits.begin());
  }
  return classes;
}

/// Collective. The newest checkpoint of a run directory that verifies.
CheckpointHeader header_of_run(const std::string& path, Communicator& communicator,
                               Subject& subject) {
  FoundCheckpoint found = find_checkpoint(communicator, path + "/checkpoints", {});
  if (!found.header) {
    throw FileError(path + " holds no checkpoint: expected a run directory with checkpoints/");
  }
  subject.kind = to_string(FileKind::checkpoint);
  subject.iteration = found.header->iteration;
  subject.passed_over = std::move(found.passed_over);
  return *std::move(found.header);
}

/// Collective. What a single file says of itself, once all of it was read.
CheckpointHeader header_of_file(const std::string& path, Communicator& communicator,
                                Subject& subject) {
  const FileReport report = inspect_file(communicator, path);
  Told told;
  on_first_rank(communicator, [&] { told = told_by(report); });
  CheckpointHeader header{.path = path};
  header.texts["config"] = communicator.broadcast(std::move(told.config), 0);
  subject.kind = communicator.broadcast(std::move(told.kind), 0);
  const std::string iteration = communicator.broadcast(std::move(told.iteration), 0);
  if (!iteration.empty()) subject.iteration = std::stoll(iteration);
  subject.checkpoint = communicator.broadcast(std::move(told.checkpoint), 0);
  const std::string weights = communicator.broadcast(std::move(told.weights), 0);
  if (!weights.empty()) subject.weights = weights;
  subject.denoised = communicator.broadcast(std::move(told.denoised), 0);
  subject.weights_digest = communicator.broadcast(std::move(told.weights_digest), 0);
  return header;
}

AgeClass ages_of(const SortedStates& sorted, std::vector<std::int64_t> states) {
  const auto age = [&](std::int64_t i) { return sorted.ages[static_cast<std::size_t>(i)]; };
  const auto [youngest, oldest] = std::ranges::minmax(states | std::views::transform(age));
  return {{youngest, oldest}, std::move(states)};
}

}  // namespace

Subject open_subject(const std::string& name, Communicator& communicator) {
  Subject subject;
  const std::string path = communicator.broadcast(followed(name), 0);
  const CheckpointHeader header = is_directory(path, communicator)
                                      ? header_of_run(path, communicator, subject)
                                      : header_of_file(path, communicator, subject);
  subject.path = communicator.broadcast(without_links(header.path), 0);
  agree(communicator, [&] {
    subject.config = stored_config(header).config;
    subject.states = std::make_unique<StoredStates>(subject.path);
  });
  return subject;
}

SortedStates sort_states(const StoredStates& states, std::int64_t most, std::int64_t minimum_age) {
  SortedStates sorted;
  std::vector<std::int64_t> ages = states.ages();
  ages.resize(static_cast<std::size_t>(states.count()), 0);
  const bool any = std::ranges::any_of(ages, [&](auto age) { return age >= minimum_age; });
  for (std::int64_t row = 0; row < states.count() && sorted.count < most; ++row) {
    const std::int64_t age = ages[static_cast<std::size_t>(row)];
    if (any && age < minimum_age) {
      ++sorted.younger;
      continue;
    }
    sorted.rows.push_back(row);
    sorted.ages.push_back(age);
    ++sorted.count;
  }
  Sorting& sorting = sorted.sorting;
  for (const std::int64_t row : sorted.rows) sorting.chain_of.push_back(row / states.draws());
  std::vector<std::int64_t> numbers;  // of each state's chain, among those that are there
  for (std::size_t i = 0; i < sorting.chain_of.size(); ++i) {
    if (i == 0 || sorting.chain_of[i] != sorting.chain_of[i - 1]) ++sorted.chains;
    numbers.push_back(sorted.chains - 1);
  }
  sorting.class_of = classes_of(sorted.ages);
  sorting.classes = *std::ranges::max_element(sorting.class_of) + 1;
  sorting.groups = std::min(most_groups, sorted.chains);
  for (const std::int64_t number : numbers) sorting.group_of.push_back(number % sorting.groups);
  return sorted;
}

void read_states(const StoredStates& states, const SortedStates& sorted, std::int64_t first,
                 std::int64_t count, float* out) {
  const std::int64_t* rows = sorted.rows.data() + first;
  for (std::int64_t done = 0; done < count;) {
    std::int64_t together = 1;  // neighbours in the file
    while (done + together < count && rows[done + together] == rows[done] + together) ++together;
    states.read(rows[done], together, out + done * states.dimension());
    done += together;
  }
}

std::string AgeClass::name() const { return fmt::format("ages {} to {}", ages[0], ages[1]); }

AgeClass all_ages(const SortedStates& states) {
  std::vector<std::int64_t> all(static_cast<std::size_t>(states.count));
  std::iota(all.begin(), all.end(), 0);
  return ages_of(states, std::move(all));
}

std::vector<AgeClass> age_classes(const SortedStates& states) {
  if (states.sorting.classes < 2) return {};
  std::vector<std::vector<std::int64_t>> members(static_cast<std::size_t>(states.sorting.classes));
  for (std::int64_t i = 0; i < states.count; ++i) {
    const std::int64_t of_state = states.sorting.class_of[static_cast<std::size_t>(i)];
    members[static_cast<std::size_t>(of_state)].push_back(i);
  }
  std::vector<AgeClass> classes;
  for (auto& one : members) classes.push_back(ages_of(states, std::move(one)));
  return classes;
}

}  // namespace stanley
