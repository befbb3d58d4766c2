#include "diagnostics/ranks.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <utility>

#include "diagnostics/distributions.hpp"

namespace stanley {
namespace {

/// An integer that compares as the number does, but that −0 is below 0.
std::uint64_t to_key(double value) {
  const auto bits = std::bit_cast<std::uint64_t>(value);
  return (bits >> 63) != 0 ? ~bits : bits | std::uint64_t{1} << 63;
}

double to_value(std::uint64_t key) {
  return std::bit_cast<double>((key >> 63) != 0 ? key & ~(std::uint64_t{1} << 63) : ~key);
}

struct Keyed {
  std::uint64_t key;
  std::uint32_t place;
};

/// Sorts stably by one digit of the keys.
void sort_by_digit(const std::vector<Keyed>& from, std::vector<Keyed>& to, int shift, int bits) {
  const std::uint64_t mask = (std::uint64_t{1} << bits) - 1;
  std::vector<std::uint32_t> next(std::size_t{1} << bits);
  for (const Keyed& one : from) ++next[(one.key >> shift) & mask];
  std::uint32_t before = 0;
  for (std::uint32_t& count : next) before += std::exchange(count, before);
  for (const Keyed& one : from) to[next[(one.key >> shift) & mask]++] = one;
}

double normal_score(double rank, double n) {
  // From the nearer end: 1 − p would lose bits.
  if (2 * rank > n + 1) return -normal_score(n + 1 - rank, n);
  return inverse_normal((rank - 0.375) / (n + 0.25));
}

}  // namespace

Ascending sorted(std::span<const double> values) {
  constexpr int digit = 11;  // bits: six passes
  const std::size_t n = values.size();
  std::vector<Keyed> numbers(n), other(n);
  for (std::size_t i = 0; i < n; ++i) {
    numbers[i] = {to_key(values[i]), static_cast<std::uint32_t>(i)};
  }
  for (int shift = 0; shift < 64; shift += digit) {
    sort_by_digit(numbers, other, shift, digit);
    std::swap(numbers, other);
  }
  Ascending result{.values = std::vector<double>(n), .places = std::vector<std::uint32_t>(n)};
  for (std::size_t i = 0; i < n; ++i) {
    result.values[i] = to_value(numbers[i].key);
    result.places[i] = numbers[i].place;
  }
  return result;
}

Ascending folded(const Ascending& numbers) {
  const std::vector<double>& values = numbers.values;
  const std::size_t n = values.size();
  const double median = median_of(values);
  Ascending result{.values = std::vector<double>(n), .places = std::vector<std::uint32_t>(n)};
  // Distances grow from the median to both sides: the two sides are merged.
  std::size_t above =
      static_cast<std::size_t>(std::ranges::lower_bound(values, median) - values.begin());
  std::size_t below = above;  // one beyond the next below
  for (std::size_t i = 0; i < n; ++i) {
    const bool take_below =
        above == n || (below > 0 && median - values[below - 1] < values[above] - median);
    const std::size_t taken = take_below ? --below : above++;
    result.values[i] = std::abs(values[taken] - median);
    result.places[i] = numbers.places[taken];
  }
  return result;
}

double median_of(std::span<const double> ascending) {
  const std::size_t half = ascending.size() / 2;
  if (ascending.size() % 2 == 1) return ascending[half];
  return (ascending[half - 1] + ascending[half]) / 2;
}

double quantile_of(std::span<const double> ascending, double probability) {
  const auto n = static_cast<double>(ascending.size());
  if (ascending.size() == 1) return ascending.front();
  const double position = n * probability + (1 - probability);  // counted from 1
  const double k = std::floor(std::clamp(position, 1.0, n - 1));
  const double share = std::clamp(position - k, 0.0, 1.0);
  const auto upper = static_cast<std::size_t>(k);
  return (1 - share) * ascending[upper - 1] + share * ascending[upper];
}

std::vector<double> normal_scores(const Ascending& numbers) {
  const std::vector<double>& values = numbers.values;
  const std::size_t n = values.size();
  std::vector<double> scores(n);
  for (std::size_t first = 0, end = 1; first < n; first = end++) {
    while (end < n && values[end] == values[first]) ++end;
    const double rank = static_cast<double>(first + 1 + end) / 2;
    const double score = normal_score(rank, static_cast<double>(n));
    for (std::size_t i = first; i < end; ++i) scores[numbers.places[i]] = score;
  }
  return scores;
}

}  // namespace stanley
