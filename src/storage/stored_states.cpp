#include "storage/stored_states.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>

#include "config/error.hpp"
#include "storage/blocks.hpp"
#include "storage/checkpoint_schema.hpp"
#include "storage/digest.hpp"
#include "storage/hdf5.hpp"

namespace stanley {
namespace {

constexpr const char* ages_are =
    "ages of chains are whole numbers of steps from 0 on: correct them, or leave the array out";

bool is_age(double number) {
  constexpr double most = 9007199254740992;  // 2⁵³: above it not every whole number is a double
  return number >= 0 && number <= most && number == std::floor(number);
}

}  // namespace

StoredStates::StoredStates(const std::string& path)
    : file_(std::make_unique<hdf5::File>(hdf5::File::open(path, hdf5::Mode::read))),
      states_("chains/state"),
      ages_("chains/age") {
  const bool is_bank = hdf5::exists(*file_, states_);
  if (!is_bank) {
    states_ = "posterior/x";
    ages_ = "sample_stats/age";
  }
  if (!hdf5::exists(*file_, states_)) {
    throw FileError(path +
                    " holds no states: expected a checkpoint of a training or a draw file, which "
                    "stanley sample writes");
  }
  const std::vector<std::int64_t> all = hdf5::Dataset(*file_, states_).shape();
  const std::size_t before = is_bank ? 1 : 2;  // dimensions before a state's own
  if (all.size() <= before) {
    throw FileError(path + ": its states have shape " + shape_text(all) + ": expected (chain, " +
                    (is_bank ? "" : "draw, ") + "state...)");
  }
  chains_ = all[0];
  if (!is_bank) draws_ = all[1];
  shape_.assign(all.begin() + static_cast<std::ptrdiff_t>(before), all.end());
  if (std::ranges::find(all, 0) != all.end()) {
    throw FileError(path + " holds no states: its array has the shape " + shape_text(all));
  }
}

StoredStates::~StoredStates() = default;

std::vector<std::int64_t> StoredStates::ages() const {
  if (!hdf5::exists(*file_, ages_)) return {};
  const hdf5::Dataset array(*file_, ages_);
  std::int64_t stored = 1;
  for (const std::int64_t extent : array.shape()) stored *= extent;
  if (stored != count()) throw FileError(array.described() + " doesn't fit the states");
  const H5T_class_t kind = array.type_class();
  if (kind != H5T_INTEGER && kind != H5T_FLOAT) throw FileError(array.described() + " " + ages_are);
  // Others write whole numbers as floating-point ones.
  std::vector<double> numbers(static_cast<std::size_t>(count()));
  hdf5::read_block(
      array, {.start = std::vector<std::int64_t>(array.shape().size(), 0), .count = array.shape()},
      H5T_NATIVE_DOUBLE, numbers.data());
  const auto wrong = std::ranges::find_if_not(numbers, is_age);
  if (wrong != numbers.end()) {
    throw FileError(fmt::format("{} holds {} for state {}, and {}", array.described(), *wrong,
                                wrong - numbers.begin(), ages_are));
  }
  return {numbers.begin(), numbers.end()};
}

std::string StoredStates::digest() const {
  std::string all = shape_text(hdf5::Dataset(*file_, states_).shape());
  for (const std::string& array : {states_, ages_}) {
    if (hdf5::exists(*file_, array)) all += " " + digests_of(array);
  }
  return digest_text(all);
}

std::string StoredStates::digests_of(const std::string& array) const {
  if (const std::string name = digests_name(array); hdf5::exists(*file_, name)) {
    const hdf5::Dataset stored(*file_, name);
    std::vector<std::uint64_t> digests(static_cast<std::size_t>(stored.shape().at(0)));
    stored.read_all(digests.data());
    return fmt::format("{:016x}", fmt::join(digests, " "));
  }
  const auto stored = hdf5::read_unsigned(hdf5::Dataset(*file_, array).id(), "digest");
  return stored ? fmt::format("{:016x}", *stored) : digest_of_numbers(array);
}

std::string StoredStates::digest_of_numbers(const std::string& array) const {
  constexpr std::int64_t at_once = 1024;
  PartDigester digester(std::numeric_limits<std::size_t>::max());
  if (array == ages_) {
    const std::vector<std::int64_t> numbers = ages();
    digester.feed(std::as_bytes(std::span(numbers)));
  } else {
    std::vector<float> numbers;
    for (std::int64_t first = 0; first < count(); first += at_once) {
      const std::int64_t part = std::min(at_once, count() - first);
      numbers.resize(static_cast<std::size_t>(part * dimension()));
      read(first, part, numbers.data());
      digester.feed(std::as_bytes(std::span(numbers)));
    }
  }
  return fmt::format("{:016x}", digester.digests().at(0));
}

std::int64_t StoredStates::dimension() const {
  std::int64_t elements = 1;
  for (const std::int64_t extent : shape_) elements *= extent;
  return elements;
}

void StoredStates::read(std::int64_t first, std::int64_t count, float* out) const {
  const hdf5::Dataset array(*file_, states_);
  while (count > 0) {
    // Whole chains, or what is wanted of one.
    const std::int64_t draw = first % draws_;
    const bool whole = draw == 0 && count >= draws_;
    const std::int64_t chains = whole ? count / draws_ : 1;
    const std::int64_t draws = whole ? draws_ : std::min(count, draws_ - draw);
    hdf5::Block block{.start = {first / draws_}, .count = {chains}};
    if (array.shape().size() > shape_.size() + 1) {
      block.start.push_back(draw);
      block.count.push_back(draws);
    }
    block.start.resize(array.shape().size(), 0);
    block.count.insert(block.count.end(), shape_.begin(), shape_.end());
    hdf5::read_block(array, block, H5T_NATIVE_FLOAT, out);
    out += chains * draws * dimension();
    first += chains * draws;
    count -= chains * draws;
  }
}

}  // namespace stanley
