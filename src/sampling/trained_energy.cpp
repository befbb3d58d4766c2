#include "sampling/trained_energy.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>

#include "chains/tensor_view.hpp"
#include "config/error.hpp"
#include "engines/factory.hpp"
#include "sampler/pieces.hpp"
#include "sampling/stored_config.hpp"
#include "storage/digest.hpp"

namespace stanley {
namespace {

bool is_weight(const StoredArray& array, bool average) {
  return array.name.starts_with(average ? "average/" : "parameters/") ||
         array.name.starts_with("buffers/");
}

}  // namespace

TrainedEnergy load_trained_energy(const CheckpointHeader& header, const Config& config,
                                  const ComputeSetup& setup, bool average,
                                  Communicator& communicator) {
  const StoredArray* bank = header.find("chains/state");
  if (bank == nullptr) {
    throw Error(ExitCode::input_output,
                header.path + " holds no chains; it was not written by a training");
  }
  TrainedEnergy trained;
  trained.network = make_network_on_all(config, {bank->shape.begin() + 1, bank->shape.end()},
                                        setup.energy_file.bytes, communicator);
  Network& network = *trained.network;
  const c10::NoGradGuard no_gradient;
  std::vector<ArrayView> arrays;
  for (NamedTensor& parameter : network.parameters()) {
    parameter.value = parameter.value.detach().clone();
    arrays.push_back(showing(parameter.value,
                             {.name = (average ? "average/" : "parameters/") + parameter.name}));
  }
  for (const NamedTensor& buffer : network.buffers()) {
    arrays.push_back(showing(buffer.value, {.name = "buffers/" + buffer.name}));
  }
  check_arrays(header, arrays, Sharding::any);
  read_checkpoint(communicator, header, arrays, Sharding::any, {});
  trained.engine = make_gradient_engine(network, config.energy, setup.precision, setup.torch_device,
                                        config.sampler.drift_correction);
  trained.engine->load(network.weights(network.parameter_values()));
  std::int64_t dimension = 1;
  for (const std::int64_t extent : network.state_shape()) dimension *= extent;
  const std::int64_t active =
      stored_config(header).config.chains.active / std::max<std::int64_t>(header.world_size, 1);
  trained.most_states = std::min(states_at_once(active, dimension, setup.torch_device),
                                 trained.engine->largest_batch());
  return trained;
}

std::string digest_of_weights(const CheckpointHeader& header, bool average,
                              const std::string& code) {
  std::string all = code;
  for (const StoredArray& array : header.arrays) {
    if (!is_weight(array, average)) continue;
    all += array.name;
    for (const std::uint64_t one : array.digests) all += fmt::format(" {:016x}", one);
  }
  return digest_text(all);
}

}  // namespace stanley
