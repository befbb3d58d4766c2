#include "data/batches.hpp"

#include <algorithm>
#include <numeric>

#include "random/permutation.hpp"

namespace stanley {
namespace {

/// Mirrors an image left to right.
void flip(const std::vector<std::int64_t>& shape, float* image) {
  const std::int64_t width = shape[2], rows = shape[0] * shape[1];
  for (std::int64_t row = 0; row < rows; ++row) {
    std::reverse(image + row * width, image + (row + 1) * width);
  }
}

}  // namespace

Batches::Batches(const Dataset& dataset, const Config& config, std::uint32_t attempt)
    : dataset_(dataset),
      config_(config.data),
      seed_(config.run.seed),
      attempt_(attempt),
      noise_{.sigma = static_cast<float>(config.data.noise),
             .key = {config.run.seed, random::Stream::data_noise, attempt}} {
  if (const auto& box = config.sampler.box) {
    noise_.low = static_cast<float>((*box)[0]);
    noise_.high = static_cast<float>((*box)[1]);
  }
}

std::int64_t Batches::sample_index(std::int64_t seen) const {
  const auto size = static_cast<std::uint64_t>(dataset_.size());
  const auto visit = static_cast<std::uint64_t>(seen);
  const random::Key key{seed_, random::Stream::data_order, attempt_};
  return static_cast<std::int64_t>(random::permute(visit % size, size, key, visit / size));
}

void Batches::fill_clean(std::int64_t iteration, std::int64_t seen, std::int64_t first,
                         std::int64_t count, float* out) const {
  const std::int64_t dimension = dataset_.dimension();
  const auto step = static_cast<std::uint64_t>(iteration);
  const random::Key flip_key{seed_, random::Stream::data_flip, attempt_};
  const bool may_flip = config_.flip && dataset_.shape().size() == 3;
  for (std::int64_t i = 0; i < count; ++i) {
    float* sample = out + i * dimension;
    dataset_.copy_sample(sample_index(seen + first + i), sample);
    const auto id = static_cast<std::uint32_t>(first + i);
    if (may_flip && random::uniform(flip_key, id, step) < 0.5F) flip(dataset_.shape(), sample);
  }
}

void Batches::fill(std::int64_t iteration, std::int64_t seen, std::int64_t first,
                   std::int64_t count, float* out) const {
  fill_clean(iteration, seen, first, count, out);
  std::vector<std::int64_t> ids(static_cast<std::size_t>(count));
  std::iota(ids.begin(), ids.end(), first);
  Update noise = noise_;
  noise.step = static_cast<std::uint64_t>(iteration);
  update_cpu(noise, ids, dataset_.dimension(), nullptr, nullptr, nullptr, out);
}

void Batches::fill_noised(std::int64_t iteration, std::int64_t seen, std::int64_t first,
                          std::span<const double> deviations, float* clean, float* noised) const {
  const std::int64_t dimension = dataset_.dimension();
  const auto count = static_cast<std::int64_t>(deviations.size());
  fill_clean(iteration, seen, first, count, clean);
  std::copy_n(clean, count * dimension, noised);
  Update noise = noise_;
  noise.key.stream = random::Stream::denoising;
  noise.step = static_cast<std::uint64_t>(iteration);
  for (std::int64_t i = 0; i < count; ++i) {
    noise.sigma = static_cast<float>(deviations[static_cast<std::size_t>(i)]);
    const std::vector<std::int64_t> id{first + i};
    update_cpu(noise, id, dimension, nullptr, nullptr, nullptr, noised + i * dimension);
  }
}

}  // namespace stanley
