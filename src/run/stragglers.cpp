#include "run/stragglers.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <numeric>

namespace stanley {
namespace {

constexpr double worth_telling = 0.02;  // mean share of the time that ranks wait
constexpr double straggles = 0.25;      // waits less than this share of the longest wait
constexpr std::size_t names_at_most = 4;

/// Ranks that hardly wait, the least patient first.
std::vector<std::size_t> find_stragglers(std::span<const double> waited) {
  const double longest = *std::max_element(waited.begin(), waited.end());
  std::vector<std::size_t> found;
  for (std::size_t rank = 0; rank < waited.size(); ++rank) {
    if (waited[rank] < straggles * longest) found.push_back(rank);
  }
  std::ranges::stable_sort(found, {}, [&](std::size_t rank) { return waited[rank]; });
  return found;
}

}  // namespace

std::vector<double> WaitTally::gather(Communicator& communicator) const {
  std::vector<double> waited(static_cast<std::size_t>(communicator.size()), 0.0);
  waited[static_cast<std::size_t>(communicator.rank())] = waited_;
  communicator.sum(std::span(waited));
  return waited;
}

std::string straggler_line(std::span<const double> waited, const std::vector<std::string>& hosts,
                           double seconds) {
  if (waited.size() < 2 || !(seconds > 0)) return {};
  const double total = std::accumulate(waited.begin(), waited.end(), 0.0);
  if (total < worth_telling * seconds * static_cast<double>(waited.size())) return {};
  const std::vector<std::size_t> found = find_stragglers(waited);
  if (found.empty()) {
    return fmt::format(
        "ranks wait {:.1f} % of the time, for one or another: no rank is a straggler",
        100 * total / seconds / static_cast<double>(waited.size()));
  }
  std::vector<std::string> names;
  double own = 0;
  for (const std::size_t rank : found) {
    if (names.size() < names_at_most) names.push_back(fmt::format("{} ({})", rank, hosts[rank]));
    own += waited[rank];
  }
  const std::string more =
      found.size() > names.size() ? fmt::format(" and {} more", found.size() - names.size()) : "";
  const double others = (total - own) / static_cast<double>(waited.size() - found.size());
  return fmt::format("{} {}{}: the other ranks wait {:.1f} % of the time",
                     found.size() == 1 ? "straggler rank" : "straggler ranks",
                     fmt::join(names, ", "), more, 100 * others / seconds);
}

}  // namespace stanley
