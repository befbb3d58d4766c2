#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "config/config.hpp"
#include "measure/benchmark.hpp"
#include "measure/scaling_model.hpp"
#include "measure/training_benchmark.hpp"

namespace CLI {
class App;
}

namespace stanley {

/// The stated network of `stanley benchmark --model-ranks`, in the units of its options.
struct ModelOptions {
  std::vector<std::int64_t> ranks;
  std::optional<std::string> library;  ///< none: what reduces on this machine
  std::int64_t ranks_per_node = 1;
  double node_latency = 1, node_bandwidth = 10;  ///< µs, GB/s
  double network_latency = 5, network_bandwidth = 12.5;
  double eager_kilobytes = 64;
  double file_bandwidth = 2;     ///< GB/s
  std::optional<double> jitter;  ///< per cent; none: as measured
};

void add_model_options(CLI::App& command, ModelOptions& options);

/// From what was measured and stated.
ScalingInputs scaling_inputs(const ModelOptions& options, const Config& config,
                             const BenchmarkResult& parts, const TrainingMeasure& training,
                             std::vector<WorkPoint> work, std::int64_t dimension, int ranks);

std::string model_text(const ScalingInputs& inputs, const std::vector<std::int64_t>& ranks);
nlohmann::ordered_json model_json(const ScalingInputs& inputs,
                                  const std::vector<std::int64_t>& ranks);

}  // namespace stanley
