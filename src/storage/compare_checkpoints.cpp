#include "storage/compare_checkpoints.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <type_traits>

#include "config/error.hpp"
#include "parallel/agree.hpp"
#include "storage/blocks.hpp"
#include "storage/checkpoint.hpp"
#include "storage/hdf5.hpp"

namespace stanley {
namespace {

using Json = nlohmann::json;

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
Found compare_values(const std::byte* a, const std::byte* b, std::size_t count,
                     std::int64_t first_place) {
  Found found;
  for (std::size_t i = 0; i < count; ++i, a += sizeof(Value), b += sizeof(Value)) {
    if (std::memcmp(a, b, sizeof(Value)) == 0) continue;
    Value left;
    Value right;
    std::memcpy(&left, a, sizeof(Value));
    std::memcpy(&right, b, sizeof(Value));
    found.add({1, distance(left, right), first_place + static_cast<std::int64_t>(i)});
  }
  return found;
}

Found compare_bytes(ElementType type, const std::byte* a, const std::byte* b, std::size_t count,
                    std::int64_t first_place) {
  if (std::memcmp(a, b, count * element_bytes(type)) == 0) return {};
  switch (type) {
    case ElementType::float32:
      return compare_values<float>(a, b, count, first_place);
    case ElementType::float64:
      return compare_values<double>(a, b, count, first_place);
    case ElementType::int32:
      return compare_values<std::int32_t>(a, b, count, first_place);
    case ElementType::int64:
      return compare_values<std::int64_t>(a, b, count, first_place);
    case ElementType::uint8:
      return compare_values<std::uint8_t>(a, b, count, first_place);
    case ElementType::uint64:
      return compare_values<std::uint64_t>(a, b, count, first_place);
  }
  throw Error(ExitCode::bug, "unknown element type");
}

std::int64_t place_of(const std::vector<std::int64_t>& index,
                      const std::vector<std::int64_t>& shape) {
  std::int64_t place = 0;
  for (std::size_t i = 0; i < shape.size(); ++i) place = place * shape[i] + index[i];
  return place;
}

std::vector<std::int64_t> index_of(std::int64_t place, const std::vector<std::int64_t>& shape) {
  std::vector<std::int64_t> index(shape.size());
  for (std::size_t i = shape.size(); i-- > 0;) {
    index[i] = place % shape[i];
    place /= shape[i];
  }
  return index;
}

/// The blocks of one array that are dealt to this rank.
Found compare_blocks(const Communicator& communicator, const hdf5::Dataset& first,
                     const hdf5::Dataset& second, std::size_t block_bytes) {
  const ElementType type = first.type();
  const auto block = hdf5::block_shape(first.shape(), element_bytes(type), block_bytes);
  std::vector<std::byte> left;
  std::vector<std::byte> right;
  Found found;
  int turn = 0;
  hdf5::for_each_block(first.shape(), block, [&](const hdf5::Block& part) {
    const bool mine = turn == communicator.rank();
    turn = (turn + 1) % communicator.size();
    if (!mine) return;
    left.resize(part.elements() * element_bytes(type));
    right.resize(left.size());
    hdf5::read_block(first, part, left.data());
    hdf5::read_block(second, part, right.data());
    found.add(compare_bytes(type, left.data(), right.data(), part.elements(),
                            place_of(part.start, first.shape())));
  });
  return found;
}

/// Why two arrays can't be compared; empty if they can.
std::string mismatch_of(const CheckpointHeader& first, const StoredArray* a,
                        const CheckpointHeader& second, const StoredArray* b) {
  if (b == nullptr) return "only in " + first.path;
  if (a == nullptr) return "only in " + second.path;
  if (a->type == b->type && a->shape == b->shape) return "";
  return std::string(to_string(a->type)) + " " + shape_text(a->shape) + " in " + first.path + ", " +
         to_string(b->type) + " " + shape_text(b->shape) + " in " + second.path;
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
    if (array.mismatch.empty()) {
      const std::size_t bytes =
          static_cast<std::size_t>(row_count(a->shape)) * row_bytes(a->type, a->shape);
      array.elements = static_cast<std::int64_t>(bytes / element_bytes(a->type));
    }
    arrays.push_back(array);
  }
  return arrays;
}

std::string number_text(const std::variant<std::int64_t, double>& value) {
  return std::visit([](auto number) { return fmt::format("{}", number); }, value);
}

bool same_bits(const std::variant<std::int64_t, double>& a,
               const std::variant<std::int64_t, double>& b) {
  if (a.index() != b.index()) return false;
  return std::visit(
      [&](auto left) {
        const auto right = std::get<decltype(left)>(b);
        return std::bit_cast<std::uint64_t>(left) == std::bit_cast<std::uint64_t>(right);
      },
      a);
}

/// Values of time are named so: "seconds_used".
bool is_clock(const std::string& name) { return name.find("seconds") != std::string::npos; }

/// Every name that is in one of two maps.
template <typename Map>
std::set<std::string> names_of(const Map& first, const Map& second) {
  std::set<std::string> names;
  for (const auto* map : {&first, &second}) {
    for (const auto& [name, value] : *map) names.insert(name);
  }
  return names;
}

std::vector<ProgressDifference> compare_progress(const Progress& first, const Progress& second) {
  std::vector<ProgressDifference> differences;
  for (const auto& name : names_of(first, second)) {
    const auto a = first.find(name), b = second.find(name);
    if (a != first.end() && b != second.end() && same_bits(a->second, b->second)) continue;
    differences.push_back({name, a == first.end() ? "none" : number_text(a->second),
                           b == second.end() ? "none" : number_text(b->second), is_clock(name)});
  }
  return differences;
}

std::vector<std::string> compare_texts(const std::map<std::string, std::string>& first,
                                       const std::map<std::string, std::string>& second) {
  std::vector<std::string> differing;
  for (const std::string& name : names_of(first, second)) {
    const auto a = first.find(name), b = second.find(name);
    if (a == first.end() || b == second.end() || a->second != b->second) differing.push_back(name);
  }
  return differing;
}

CheckpointDifference compare_headers(const CheckpointHeader& first,
                                     const CheckpointHeader& second) {
  return {.first_iteration = first.iteration,
          .second_iteration = second.iteration,
          .first_world_size = first.world_size,
          .second_world_size = second.world_size,
          .arrays = list_arrays(first, second),
          .progress = compare_progress(first.progress, second.progress),
          .texts = compare_texts(first.texts, second.texts)};
}

/// Collective. What all ranks found, array by array. CBOR keeps every double, infinities too.
std::vector<Found> combine(Communicator& communicator, const std::vector<Found>& mine) {
  Json packed = Json::array();
  for (const auto& found : mine) {
    packed.push_back({found.differing, found.largest, found.place});
  }
  const auto bytes = Json::to_cbor(packed);
  std::vector<Found> all(mine.size());
  for (const auto& text : communicator.all_gather({bytes.begin(), bytes.end()})) {
    const Json theirs = Json::from_cbor(text);
    for (std::size_t i = 0; i < all.size(); ++i) {
      all[i].add({theirs[i][0], theirs[i][1], theirs[i][2]});
    }
  }
  return all;
}

}  // namespace

std::int64_t CheckpointDifference::differing_arrays() const {
  return std::count_if(arrays.begin(), arrays.end(),
                       [](const ArrayDifference& array) { return !array.equal(); });
}

std::int64_t CheckpointDifference::differing_progress() const {
  return std::count_if(progress.begin(), progress.end(),
                       [](const ProgressDifference& value) { return !value.clock; });
}

CheckpointDifference compare_checkpoints(Communicator& communicator, const std::string& first,
                                         const std::string& second, std::size_t block_bytes) {
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
                         ? compare_blocks(communicator, hdf5::Dataset(left, array.name),
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
