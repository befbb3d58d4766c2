#include "config/problems.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstddef>
#include <limits>
#include <tuple>
#include <utility>

#include "config/error.hpp"

namespace stanley {
namespace {

auto order_of(const Place& place) {
  constexpr int last = std::numeric_limits<int>::max();
  const bool nowhere = place.line == 0 && place.override_index < 0;
  return std::tuple(nowhere ? last : place.override_index, place.file, place.line, place.column);
}

bool holds(const std::string& outer, const std::string& inner) {
  return outer.empty() || inner == outer || inner.starts_with(outer + ".");
}

}  // namespace

Problems::Problems(std::string file, std::vector<std::string> overrides)
    : files_{std::move(file)}, overrides_(std::move(overrides)) {}

int Problems::add_file(std::string file) {
  files_.push_back(std::move(file));
  return static_cast<int>(files_.size()) - 1;
}

const std::string& Problems::file(int number) const {
  return files_.at(static_cast<std::size_t>(number));
}

void Problems::add(const Place& place, const std::string& path, const std::string& message) {
  add_relation(place, path, message);
  if (!path.empty()) {
    distrust(path);
  }
}

void Problems::add_relation(const Place& place, const std::string& path,
                            const std::string& message) {
  const Problem problem{place, path, message};
  if (std::ranges::find(problems_, problem) == problems_.end()) problems_.push_back(problem);
}

void Problems::distrust(const std::string& path) { distrusted_.push_back(path); }

bool Problems::trusts(const std::string& path) const {
  return std::ranges::none_of(distrusted_, [&path](const std::string& other) {
    return holds(other, path) || holds(path, other);
  });
}

std::string Problems::line_of(const Problem& problem) const {
  const Place& place = problem.place;
  std::string line = file(place.file);
  if (place.override_index >= 0) {
    line = "--set " + overrides_.at(static_cast<std::size_t>(place.override_index));
  } else if (place.line > 0) {
    line += fmt::format(":{}:{}", place.line, place.column);
  }
  if (!problem.path.empty()) {
    line += ": " + problem.path;
  }
  return printable(line + ": " + problem.message);
}

void Problems::throw_if_any() const {
  if (problems_.empty()) {
    return;
  }
  std::vector<Problem> sorted = problems_;
  std::ranges::stable_sort(sorted, {}, [](const Problem& one) { return order_of(one.place); });
  std::vector<std::string> lines;
  for (const Problem& problem : sorted) lines.push_back(line_of(problem));
  throw Error(ExitCode::configuration, fmt::format("{}", fmt::join(lines, "\n")));
}

}  // namespace stanley
