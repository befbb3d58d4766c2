#include "train/noise_probe.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <vector>

#include "sampler/device_update.hpp"

namespace stanley {
namespace {

/// Uniform states without values, [n, state shape], with the ids of the probes from `first`.
ChainBatch probes_from(std::int64_t first, std::int64_t count, const StateShape& state_shape,
                       at::Device device) {
  std::vector<std::int64_t> shape{count};
  shape.insert(shape.end(), state_shape.begin(), state_shape.end());
  return {at::empty(shape, at::TensorOptions(at::kFloat).device(device)),
          at::arange(first, first + count, at::TensorOptions(at::kLong).device(device))};
}

}  // namespace

double noise_energy(const Config& config, const Network& network, const Shards& shards,
                    std::int64_t parts, std::uint32_t attempt, std::int64_t iteration,
                    at::Device device) {
  const c10::NoGradGuard no_gradient;
  const auto weights = network.weights(network.parameter_values());
  const auto range = config.sampler.box.value_or(config.data.range);
  const std::int64_t count = noise_probes_per_shard * shards.count / parts;
  double sum = 0;
  for (std::int64_t part = 0; part < parts; ++part) {
    ChainBatch probes = probes_from(noise_probes_per_shard * shards.first + part * count, count,
                                    network.state_shape(), device);
    fill_uniform({config.run.seed, random::Stream::noise_probe, attempt},
                 static_cast<std::uint64_t>(iteration), static_cast<float>(range[0]),
                 static_cast<float>(range[1]), probes);
    sum += network.forward(probes.state, weights).to(at::kCPU, at::kDouble).sum().item<double>();
  }
  return sum;
}

}  // namespace stanley
