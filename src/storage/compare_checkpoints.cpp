#include "storage/compare_checkpoints.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <set>
#include <span>
#include <type_traits>

#include "config/error.hpp"
#include "parallel/agree.hpp"
#include "storage/blocks.hpp"
#include "storage/checkpoint.hpp"
#include "storage/folder.hpp"
#include "storage/hdf5.hpp"
#include "storage/json_values.hpp"

namespace stanley {
namespace {

/// What was found in some elements of one array.
struct Found {
  std::int64_t differing{0};
  double largest{-1};
  std::int64_t place{0};  // row-major

  void add(const Found& other) {
    differing += other.differing;
    if (other.largest > largest || (other.largest == largest && other.place < place)) {
      largest = other.largest;
      place = other.place;
    }
  }
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Found, differing, largest, place)

template <typename Value>
double distance(Value a, Value b) {
  if constexpr (std::is_floating_point_v<Value>) {
    const bool numbers = !std::isnan(a) && !std::isnan(b);
    if (numbers) return std::abs(static_cast<double>(a) - static_cast<double>(b));
    return std::isnan(a) && std::isnan(b) ? 0 : std::numeric_limits<double>::infinity();
  } else {
    // The difference of two int64 may need 64 bits without a sign.
    using Unsigned = std::make_unsigned_t<Value>;
    const auto larger = static_cast<Unsigned>(std::max(a, b));
    const auto smaller = static_cast<Unsigned>(std::min(a, b));
    return static_cast<double>(static_cast<Unsigned>(larger - smaller));
  }
}

template <typename Value>
bool has_same_bits(const Value& a, const Value& b) {
  return std::ranges::equal(std::as_bytes(std::span(&a, 1)), std::as_bytes(std::span(&b, 1)));
}

/// `place`: of the first of these elements.
template <typename Value>
Found compare_values(const std::vector<Value>& a, const std::vector<Value>& b, std::int64_t place) {
  Found found;
  for (std::size_t i = 0; i < a.size(); ++i, ++place) {
    if (has_same_bits(a[i], b[i])) continue;
    found.add({1, distance(a[i], b[i]), place});
  }
  return found;
}

/// The blocks of one array that are dealt to this rank.
template <typename Value>
Found compare_blocks(const Communicator& communicator, const hdf5::Dataset& first,
                     const hdf5::Dataset& second, std::size_t block_bytes) {
  const auto block = hdf5::block_shape(first.shape(), sizeof(Value), block_bytes);
  std::vector<Value> left, right;
  Found found;
  std::int64_t place = 0;
  int turn = 0;
  hdf5::for_each_block(first.shape(), block, [&](const hdf5::Block& part) {
    const bool mine = turn == communicator.rank();
    turn = (turn + 1) % communicator.size();
    if (mine) {
      left.resize(part.elements());
      right.resize(part.elements());
      hdf5::read_block(first, part, left.data());
      hdf5::read_block(second, part, right.data());
      const bool same = std::memcmp(left.data(), right.data(), left.size() * sizeof(Value)) == 0;
      if (!same) found.add(compare_values(left, right, place));
    }
    place += static_cast<std::int64_t>(part.elements());
  });
  return found;
}

Found compare_arrays(const Communicator& communicator, const hdf5::Dataset& first,
                     const hdf5::Dataset& second, std::size_t block_bytes) {
  constexpr std::array by_type{compare_blocks<float>,        compare_blocks<double>,
                               compare_blocks<std::int32_t>, compare_blocks<std::int64_t>,
                               compare_blocks<std::uint8_t>, compare_blocks<std::uint64_t>};
  const auto type = static_cast<std::size_t>(first.type());
  return by_type.at(type)(communicator, first, second, block_bytes);
}

std::vector<std::int64_t> index_of(std::int64_t place, const std::vector<std::int64_t>& shape) {
  std::vector<std::int64_t> index(shape.size());
  for (std::size_t i = shape.size(); i-- > 0;) {
    index[i] = place % shape[i];
    place /= shape[i];
  }
  return index;
}

/// Why two arrays can't be compared; empty if they can.
std::string mismatch_of(const CheckpointHeader& first, const StoredArray* a,
                        const CheckpointHeader& second, const StoredArray* b) {
  if (b == nullptr) return "only in " + first.path;
  if (a == nullptr) return "only in " + second.path;
  if (a->type == b->type && a->shape == b->shape) return "";
  return fmt::format("{} {} in {}, {} {} in {}", to_string(a->type), shape_text(a->shape),
                     first.path, to_string(b->type), shape_text(b->shape), second.path);
}

std::vector<ArrayDifference> list_arrays(const CheckpointHeader& first,
                                         const CheckpointHeader& second) {
  std::set<std::string> names;
  for (const auto* header : {&first, &second}) {
    for (const auto& array : header->arrays) names.insert(array.name);
  }
  std::vector<ArrayDifference> arrays;
  for (const auto& name : names) {
    const StoredArray* a = first.find(name);
    ArrayDifference array{.name = name,
                          .mismatch = mismatch_of(first, a, second, second.find(name))};
    if (array.mismatch.empty()) array.elements = total_bytes(1, a->shape).value();
    arrays.push_back(array);
  }
  return arrays;
}

std::string number_text(const Progress& progress, const std::string& name) {
  const auto found = progress.find(name);
  if (found == progress.end()) return "none";
  return std::visit([](auto number) { return fmt::format("{}", number); }, found->second);
}

bool same_bits(const Number& a, const Number& b) {
  const auto same = [&](auto left) { return has_same_bits(left, std::get<decltype(left)>(b)); };
  return a.index() == b.index() && std::visit(same, a);
}

/// Values of time are named so: "seconds_used".
bool is_clock(const std::string& name) { return name.find("seconds") != std::string::npos; }

/// Names of what is in one of two maps alone, or not the same in both.
template <typename Map, typename Same>
std::vector<std::string> differing_names(const Map& first, const Map& second, const Same& same) {
  std::set<std::string> names;
  const auto compare = [&](const Map& map, const Map& other) {
    for (const auto& [name, value] : map) {
      const auto found = other.find(name);
      if (found == other.end() || !same(value, found->second)) names.insert(name);
    }
  };
  compare(first, second);
  compare(second, first);
  return {names.begin(), names.end()};
}

std::vector<ProgressDifference> compare_progress(const Progress& first, const Progress& second) {
  std::vector<ProgressDifference> differences;
  for (const auto& name : differing_names(first, second, same_bits)) {
    differences.push_back(
        {name, number_text(first, name), number_text(second, name), is_clock(name)});
  }
  return differences;
}

CheckpointDifference compare_headers(const CheckpointHeader& first,
                                     const CheckpointHeader& second) {
  return {.first_iteration = first.iteration,
          .second_iteration = second.iteration,
          .first_world_size = first.world_size,
          .second_world_size = second.world_size,
          .arrays = list_arrays(first, second),
          .progress = compare_progress(first.progress, second.progress),
          .texts = differing_names(first.texts, second.texts, std::equal_to())};
}

/// Collective. What all ranks found, array by array.
std::vector<Found> combine(Communicator& communicator, const std::vector<Found>& mine) {
  std::vector<Found> all(mine.size());
  for (const auto& text : communicator.all_gather(to_bytes(mine))) {
    const auto theirs = from_bytes<std::vector<Found>>(text);
    for (std::size_t i = 0; i < all.size(); ++i) all[i].add(theirs[i]);
  }
  return all;
}

}  // namespace

std::int64_t CheckpointDifference::differing_arrays() const {
  return std::ranges::count(arrays, false, &ArrayDifference::equal);
}

std::int64_t CheckpointDifference::differing_progress() const {
  return std::ranges::count(progress, false, &ProgressDifference::clock);
}

CheckpointDifference compare_checkpoints(Communicator& communicator, const std::string& one,
                                         const std::string& other, std::size_t block_bytes) {
  const std::string first = communicator.broadcast(followed(one), 0);
  const std::string second = communicator.broadcast(followed(other), 0);
  CheckpointDifference difference;
  std::vector<Found> mine;
  std::vector<std::vector<std::int64_t>> shapes;
  // Each rank opens the files for itself: one that can't is told like any other, and nobody waits.
  agree(communicator, [&] {
    const CheckpointHeader header = read_checkpoint_header(first);
    difference = compare_headers(header, read_checkpoint_header(second));
    const auto left = hdf5::File::open(first, hdf5::Mode::read);
    const auto right = hdf5::File::open(second, hdf5::Mode::read);
    for (const auto& array : difference.arrays) {
      const StoredArray* stored = header.find(array.name);
      shapes.push_back(stored == nullptr ? std::vector<std::int64_t>{} : stored->shape);
      mine.push_back(array.mismatch.empty()
                         ? compare_arrays(communicator, hdf5::Dataset(left, array.name),
                                          hdf5::Dataset(right, array.name), block_bytes)
                         : Found{});
    }
  });
  const std::vector<Found> all = combine(communicator, mine);
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (all[i].differing == 0) continue;
    difference.arrays[i].differing = all[i].differing;
    difference.arrays[i].largest = all[i].largest;
    difference.arrays[i].index = index_of(all[i].place, shapes[i]);
  }
  return difference;
}

}  // namespace stanley
