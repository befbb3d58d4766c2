#include "data/dataset.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "config/error.hpp"
#include "data/reduction.hpp"
#include "data/synthetic.hpp"
#include "parallel/agree.hpp"
#include "storage/data_file.hpp"
#include "storage/digest.hpp"
#include "storage/json_values.hpp"

namespace stanley {
namespace {

/// Samples that are looked at where all would take too long.
constexpr std::int64_t looked_at = 4096;

/// Of some arrays, in hexadecimal: the digest of their digests.
std::string digest_of(const std::vector<std::span<const std::byte>>& arrays) {
  std::vector<std::uint64_t> digests;
  for (const auto& array : arrays) digests.push_back(digest(array));
  return fmt::format("{:016x}", digest(std::as_bytes(std::span(digests))));
}

/// Collective. Root's vector, whatever its length.
template <typename Value>
void broadcast_vector(std::vector<Value>& values, Communicator& communicator) {
  std::uint64_t length = values.size();
  communicator.broadcast(std::as_writable_bytes(std::span(&length, 1)), 0);
  values.resize(length);
  communicator.broadcast(std::as_writable_bytes(std::span(values)), 0);
}

}  // namespace

Dataset Dataset::load(const DataConfig& config, std::uint32_t seed, Communicator& communicator,
                      const std::function<void()>& progressed) {
  return config.type == DataType::file ? from_file(config, communicator, progressed)
                                       : synthetic(config, seed, progressed);
}

Dataset Dataset::synthetic(const DataConfig& config, std::uint32_t seed,
                           const std::function<void()>& progressed) {
  Dataset data;
  std::vector<float> points(static_cast<std::size_t>(2 * config.samples));
  for (std::int64_t i = 0; i < config.samples; ++i) {
    synthetic_sample(config.type, seed, i, &points[static_cast<std::size_t>(2 * i)]);
    if (progressed && i % 100000 == 0) progressed();
  }
  data.set_shape({config.samples, 2});
  data.values_ = std::move(points);
  data.scale_from(-1, 1, config.range);
  return data;
}

Dataset Dataset::from_file(const DataConfig& config, Communicator& communicator,
                           const std::function<void()>& progressed) {
  Dataset data;
  std::vector<std::uint8_t> images;
  std::vector<float> floats;
  std::vector<std::int64_t> extents;
  std::vector<double> value_range(2);
  std::string digest;
  bool reduces = false;
  on_first_rank(communicator, [&] {
    const DataFile file = DataFile::open_checked(config.path);
    extents = file.shape(config.split);
    value_range = {file.lowest(), file.highest()};
    if (file.type(config.split) == ElementType::uint8) {
      images = file.read_all_images(config.split, progressed);
    } else {
      floats = file.read_all_floats(config.split, progressed);
    }
    if (file.has_labels(config.split)) data.labels_ = file.read_labels(config.split);
    data.class_names_ = file.class_names();
    if (extents[0] == 0) {
      throw FileError(config.path + ": the split '" + config.split +
                      "' holds no images; convert the data again");
    }
    digest = digest_of({std::as_bytes(std::span(extents)), std::as_bytes(std::span(value_range)),
                        std::as_bytes(std::span(images)), std::as_bytes(std::span(floats)),
                        std::as_bytes(std::span(data.labels_))});
    reduces = reduce_images(config, extents, images, floats);
  });
  broadcast_vector(extents, communicator);
  broadcast_vector(value_range, communicator);
  broadcast_vector(images, communicator);
  broadcast_vector(floats, communicator);
  broadcast_vector(data.labels_, communicator);
  data.class_names_ = from_first_rank(communicator, [&] { return data.class_names_; });
  data.set_shape(extents);
  if (floats.empty()) {
    data.values_ = std::move(images);
  } else {
    data.values_ = std::move(floats);
  }
  data.scale_from(value_range[0], value_range[1], config.range);
  data.file_digest_ = communicator.broadcast(digest, 0);
  if (reduces) {
    digest = digest_of({std::as_bytes(std::span(digest)), std::as_bytes(std::span(extents))});
  }
  data.digest_ = communicator.broadcast(digest, 0);
  return data;
}

void Dataset::set_shape(const std::vector<std::int64_t>& extents) {
  size_ = extents[0];
  shape_ = {extents.begin() + 1, extents.end()};
  dimension_ = 1;
  for (const std::int64_t extent : shape_) dimension_ *= extent;
}

void Dataset::scale_from(double lowest, double highest, const std::array<double, 2>& range) {
  const double scale = (range[1] - range[0]) / (highest - lowest);
  scale_ = static_cast<float>(scale);
  offset_ = static_cast<float>(range[0] - scale * lowest);
}

void Dataset::copy_sample(std::int64_t index, float* out) const {
  const auto first = static_cast<std::size_t>(index * dimension_);
  const auto count = static_cast<std::size_t>(dimension_);
  std::visit(
      [&](const auto& values) {
        for (std::size_t i = 0; i < count; ++i) {
          out[i] = offset_ + scale_ * static_cast<float>(values[first + i]);
        }
      },
      values_);
}

double Dataset::share_outside(const std::array<double, 2>& box) const {
  const std::int64_t count = std::min(size_, looked_at);
  const auto low = static_cast<float>(box[0]), high = static_cast<float>(box[1]);
  std::vector<float> sample(static_cast<std::size_t>(dimension_));
  std::int64_t outside = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    copy_sample(i, sample.data());
    outside += std::count_if(sample.begin(), sample.end(),
                             [&](float value) { return value <= low || value >= high; });
  }
  return static_cast<double>(outside) / static_cast<double>(count * dimension_);
}

double Dataset::spread() const {
  const std::int64_t count = std::min(size_, looked_at);
  std::vector<float> sample(static_cast<std::size_t>(dimension_));
  std::vector<double> sums(sample.size()), squares(sample.size());
  for (std::int64_t i = 0; i < count; ++i) {
    copy_sample(i, sample.data());
    for (std::size_t j = 0; j < sample.size(); ++j) {
      const auto value = static_cast<double>(sample[j]);
      sums[j] += value;
      squares[j] += value * value;
    }
  }
  double variance = 0;
  for (std::size_t j = 0; j < sample.size(); ++j) {
    const double mean = sums[j] / static_cast<double>(count);
    variance += squares[j] / static_cast<double>(count) - mean * mean;
  }
  const double mean_variance = variance / static_cast<double>(dimension_);
  return mean_variance < 0 ? 0 : std::sqrt(mean_variance);  // NaN stays NaN
}

}  // namespace stanley
