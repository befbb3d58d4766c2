#include "config/problems.hpp"

#include <fmt/format.h>

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
  return std::tuple(nowhere ? last : place.override_index, place.line, place.column);
}

bool holds(const std::string& outer, const std::string& inner) {
  return inner == outer || inner.starts_with(outer + ".");
}

}  // namespace

Problems::Problems(std::string file, std::vector<std::string> overrides)
    : file_(std::move(file)), overrides_(std::move(overrides)) {}

void Problems::add(const Place& place, const std::string& path, const std::string& message) {
  problems_.push_back({place, path, message});
  if (!path.empty()) {
    distrust(path);
  }
}

void Problems::add_relation(const Place& place, const std::string& path,
                            const std::string& message) {
  problems_.push_back({place, path, message});
}

void Problems::distrust(const std::string& path) { distrusted_.push_back(path); }

bool Problems::trusts(const std::string& path) const {
  return std::none_of(distrusted_.begin(), distrusted_.end(), [&path](const std::string& other) {
    return holds(other, path) || holds(path, other);
  });
}

std::string Problems::line_of(const Problem& problem) const {
  std::string line;
  if (problem.place.override_index >= 0) {
    line = "--set " + overrides_.at(static_cast<std::size_t>(problem.place.override_index));
  } else if (problem.place.line > 0) {
    line = fmt::format("{}:{}:{}", file_, problem.place.line, problem.place.column);
  } else {
    line = file_;
  }
  if (!problem.path.empty()) {
    line += ": " + problem.path;
  }
  return line + ": " + problem.message;
}

void Problems::throw_if_any() const {
  if (problems_.empty()) {
    return;
  }
  std::vector<Problem> sorted = problems_;
  std::stable_sort(sorted.begin(), sorted.end(), [](const Problem& a, const Problem& b) {
    return order_of(a.place) < order_of(b.place);
  });
  std::string message;
  for (const Problem& problem : sorted) {
    if (!message.empty()) {
      message += '\n';
    }
    message += line_of(problem);
  }
  throw Error(ExitCode::configuration, message);
}

}  // namespace stanley
