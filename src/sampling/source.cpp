#include "sampling/source.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "config/document.hpp"
#include "config/error.hpp"
#include "config/files.hpp"
#include "engines/factory.hpp"
#include "parallel/agree.hpp"
#include "sampler/pieces.hpp"
#include "sampling/stored_config.hpp"
#include "storage/digest.hpp"
#include "storage/stored_states.hpp"

namespace stanley {
namespace {

bool is_configuration(const std::string& name) {
  return name.ends_with(".yaml") || name.ends_with(".yml");
}

/// The overrides alone, or what they make of a text; what is wrong in them is told elsewhere.
Value asked_for(const std::string& text, const std::string& name,
                const std::vector<std::string>& overrides) {
  Problems untold(name, overrides);
  std::optional<Value> asked = read_document(text, untold);
  if (!asked) asked = read_document("{}", untold);
  apply_overrides(*asked, overrides, untold);
  return *std::move(asked);
}

/// All chains move and no batch is drawn: what only training needs is one for each shard.
void leave_training_out(const Value& asked, std::int64_t shards,
                        std::vector<std::string>& overrides) {
  if (const Value* const value = asked.descendant("chains.shards")) {
    shards = std::strtoll(value->text.c_str(), nullptr, 10);
  }
  for (const char* key : {"chains.active", "data.batch"}) {
    if (shards > 0) overrides.push_back(fmt::format("{}={}", key, shards));
  }
}

/// The checkpoint's configuration with the overrides.
Config config_of_checkpoint(const CheckpointHeader& header,
                            const std::vector<std::string>& overrides) {
  std::vector<std::string> all{"chains.start=bank"};
  const Value asked = asked_for("{}", header.path, overrides);
  leave_training_out(asked, stored_config(header).config.chains.shards, all);
  all.insert(all.end(), overrides.begin(), overrides.end());
  return stored_config(header, all).config;
}

/// Rank 0.
Config config_of_file(const std::string& name, const std::vector<std::string>& overrides) {
  std::vector<std::string> all;
  std::int64_t shards = ChainsConfig{}.shards;
  try {
    shards = load_config(name, overrides).chains.shards;
  } catch (const Error&) {  // perhaps of what only training needs; else it is told below
  }
  leave_training_out(asked_for(read_file(name).value_or("{}"), name, overrides), shards, all);
  all.insert(all.end(), overrides.begin(), overrides.end());
  Config config = load_config(name, all);
  if (config.energy.type != EnergyType::torchscript) {
    throw Error(ExitCode::configuration,
                fmt::format("{} configures a network of energy.type {} that was never trained: "
                            "give a checkpoint of its training, or set energy.type to torchscript",
                            name, to_string(config.energy.type)));
  }
  if (config.chains.start.has(StartType::bank)) {
    throw Error(ExitCode::configuration,
                fmt::format("chains.start: bank means the chains of a checkpoint, and {} is a "
                            "configuration: choose uniform, normal, data or data_gaussian",
                            name));
  }
  return config;
}

}  // namespace

SamplingSource find_source(const std::string& name, const std::vector<std::string>& overrides,
                           bool average, Communicator& communicator) {
  SamplingSource source{.name = name, .header = std::nullopt, .config = {}, .average = average};
  if (!is_configuration(name)) {
    source.header = verify_checkpoint(communicator, name, {});
    source.config = config_of_checkpoint(*source.header, overrides);
    return source;
  }
  std::string text;
  on_first_rank(communicator, [&] { text = to_yaml(config_of_file(name, overrides)); });
  source.config = parse_config(communicator.broadcast(text, 0), name, {});
  return source;
}

TrainedEnergy load_energy(const SamplingSource& source, const ComputeSetup& setup, Dataset& data,
                          Communicator& communicator) {
  const Config& config = source.config;
  const bool from_file = !config.sampling.states.empty();
  const bool from_data = !from_file && config.chains.start.from_data();
  if (from_data || (!source.header && !from_file)) {
    data = Dataset::load(config.data, config.run.seed, communicator);
  }
  if (source.header) {
    check_energy_file(*source.header, config, setup.energy_file.digest);
    return load_trained_energy(*source.header, config, setup, source.average, communicator);
  }
  StateShape shape = data.shape();
  if (from_file) {
    agree(communicator, [&] { shape = StoredStates(config.sampling.states).shape(); });
  }
  TrainedEnergy energy;
  energy.network = make_network_on_all(config, shape, setup.energy_file.bytes, communicator);
  const c10::NoGradGuard no_gradient;
  energy.engine = make_gradient_engine(*energy.network, config.energy, setup.precision,
                                       setup.torch_device, config.sampler.drift_correction);
  energy.engine->load(energy.network->weights(energy.network->parameter_values()));
  std::int64_t dimension = 1;
  for (const std::int64_t extent : shape) dimension *= extent;
  energy.most_states =
      std::min(states_at_once(1, dimension, setup.torch_device), energy.engine->largest_batch());
  return energy;
}

std::string digest_of(const SamplingSource& source, const ComputeSetup& setup) {
  return source.header ? digest_of_weights(*source.header, source.average, setup.energy_file.digest)
                       : digest_text(setup.energy_file.digest);
}

std::string weights_of(const SamplingSource& source) {
  if (!source.header) return "none";
  return source.average ? "average" : "last";
}

decltype(DrawSet::attributes) attributes_of(const SamplingSource& source,
                                            const std::string& digest) {
  decltype(DrawSet::attributes) attributes{{"weights", weights_of(source)},
                                           {"weights_digest", digest}};
  if (source.header) {
    attributes["checkpoint"] = source.header->path;
    attributes["iteration"] = source.header->iteration;
  } else {
    attributes["configuration_file"] = source.name;
  }
  return attributes;
}

}  // namespace stanley
