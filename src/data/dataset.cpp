#include "data/dataset.hpp"

#include <algorithm>
#include <cstring>

#include "config/error.hpp"
#include "data/synthetic.hpp"
#include "parallel/agree.hpp"
#include "storage/data_file.hpp"

namespace stanley {
namespace {

template <typename Value>
std::span<std::byte> bytes_of(std::vector<Value>& values) {
  return std::as_writable_bytes(std::span<Value>(values));
}

/// Collective. Root's vector, whatever its length.
template <typename Value>
void broadcast_vector(std::vector<Value>& values, Communicator& communicator) {
  std::vector<std::uint64_t> length{values.size()};
  communicator.broadcast(bytes_of(length), 0);
  values.resize(length[0]);
  communicator.broadcast(bytes_of(values), 0);
}

}  // namespace

Dataset Dataset::load(const DataConfig& config, std::uint32_t seed, Communicator& communicator) {
  Dataset data;
  if (config.type != DataType::file) {
    std::vector<float> points(static_cast<std::size_t>(2 * config.samples));
    for (std::int64_t i = 0; i < config.samples; ++i) {
      synthetic_sample(config.type, seed, i, &points[static_cast<std::size_t>(2 * i)]);
    }
    data.shape_ = {2};
    data.size_ = config.samples;
    data.dimension_ = 2;
    data.values_ = std::move(points);
    return data;
  }

  std::vector<std::uint8_t> images;
  std::vector<std::int64_t> extents;
  std::string names;
  agree(communicator, [&] {
    if (communicator.rank() != 0) return;
    const DataFile file(config.path);
    extents = file.shape(config.split);
    images = file.read_all_images(config.split);
    if (file.has_labels(config.split)) data.labels_ = file.read_labels(config.split);
    for (const std::string& name : file.class_names()) names += name + '\n';
    if (extents[0] == 0) {
      throw Error(ExitCode::input_output, config.path + ": the split '" + config.split +
                                              "' holds no images; convert the data again");
    }
  });
  broadcast_vector(extents, communicator);
  broadcast_vector(images, communicator);
  broadcast_vector(data.labels_, communicator);
  names = communicator.broadcast(names, 0);
  for (std::size_t end; (end = names.find('\n')) != std::string::npos; names.erase(0, end + 1)) {
    data.class_names_.push_back(names.substr(0, end));
  }
  data.size_ = extents[0];
  data.shape_ = {extents.begin() + 1, extents.end()};
  data.dimension_ = extents[1] * extents[2] * extents[3];
  data.values_ = std::move(images);
  data.offset_ = static_cast<float>(config.range[0]);
  data.scale_ = static_cast<float>((config.range[1] - config.range[0]) / 255.0);
  return data;
}

void Dataset::copy_sample(std::int64_t index, float* out) const {
  const auto first = static_cast<std::size_t>(index * dimension_);
  const auto count = static_cast<std::size_t>(dimension_);
  if (const auto* points = std::get_if<std::vector<float>>(&values_)) {
    std::copy_n(points->begin() + static_cast<std::ptrdiff_t>(first), count, out);
    return;
  }
  const auto& images = std::get<std::vector<std::uint8_t>>(values_);
  for (std::size_t i = 0; i < count; ++i) {
    out[i] = offset_ + scale_ * static_cast<float>(images[first + i]);
  }
}

}  // namespace stanley
