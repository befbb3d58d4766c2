#include "sampling/setup.hpp"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <span>
#include <utility>

#include "config/error.hpp"
#include "config/files.hpp"
#include "energy/gradient_engine.hpp"
#include "engines/factory.hpp"
#include "engines/gpu_arithmetic.hpp"
#include "kernels/instruction_sets.hpp"
#include "kernels/loop_threads.hpp"
#include "parallel/agree.hpp"
#include "parallel/threads.hpp"
#include "storage/digest.hpp"

namespace stanley {
namespace {

/// Collective.
EnergyFile read_energy_file(const EnergyConfig& config, Communicator& communicator) {
  if (config.type != EnergyType::torchscript) return {};
  EnergyFile file;
  on_first_rank(communicator, [&] {
    auto bytes = read_file(config.path);
    if (!bytes) {
      throw FileError(
          fmt::format("energy.path: {} can't be read ({}): expected a TorchScript "
                      "file, which torch.jit.script(module).save() makes",
                      config.path, std::strerror(errno)));
    }
    file.bytes = *std::move(bytes);
  });
  file.bytes = communicator.broadcast(std::move(file.bytes), 0);
  file.digest = digest_text(file.bytes);
  return file;
}

}  // namespace

void use_threads(int threads, bool reproducible) {
  use_loop_threads(threads);
  at::get_num_threads();  // else LibTorch takes the number of OpenMP's threads when it starts
  at::set_num_threads(reproducible ? 1 : threads);
}

void require_shards(const Config& config, const Session& session) {
  if (session.size() <= config.chains.shards) return;
  throw Error(ExitCode::configuration,
              fmt::format("chains.shards is {}, fewer than the {} ranks: each rank needs a shard; "
                          "raise chains.shards or start fewer ranks",
                          config.chains.shards, session.size()));
}

std::string common_instruction_set(bool reproducible, Communicator& communicator) {
  int mine = 0;
  agree(communicator, [&] { mine = static_cast<int>(instruction_set()); });
  double highest[2] = {static_cast<double>(mine), -static_cast<double>(mine)};
  communicator.max(std::span<double>(highest));
  const auto name = [](double set) {
    return std::string(name_of(static_cast<InstructionSet>(static_cast<int>(set))));
  };
  if (highest[0] == -highest[1]) return name(highest[0]);
  const std::string names = name(-highest[1]) + " to " + name(highest[0]);
  agree(communicator, [&] {
    if (!reproducible) return;
    throw Error(ExitCode::environment,
                fmt::format("the ranks' processors take different instruction sets ({}), whose "
                            "sums differ in their last bits, which run.reproducible rules out: "
                            "start on processors of one kind, or with STANLEY_ISA={}",
                            names, name(-highest[1])));
  });
  return names;
}

ComputeSetup set_up(const Config& config, Session& session) {
  require_shards(config, session);
  // Before a kernel, in any thread, asks for it.
  std::string set = common_instruction_set(config.run.reproducible, session.world());
  const Device device = choose_device(config.run.device, session);
  const at::Device torch_device =
      device.kind == DeviceKind::cuda
          ? at::Device(at::kCUDA, static_cast<at::DeviceIndex>(device.index))
          : at::Device(at::kCPU);
  const int threads = threads_per_rank(session, config.run.threads);
  use_threads(threads, config.run.reproducible);
  if (torch_device.is_cuda()) choose_gpu_arithmetic();
  const Precision precision = common_precision(
      config.run.precision,
      resolve_precision(config.run.precision, config.energy.type, torch_device), session.world());
  return {device,  torch_device,   precision,
          threads, std::move(set), read_energy_file(config.energy, session.world())};
}

std::unique_ptr<Reducer> reducer_for(const Config& config, const ComputeSetup& setup,
                                     Session& session) {
  const auto deadline = std::chrono::seconds(static_cast<std::int64_t>(config.watchdog.seconds));
  return make_reducer(session.world(), transport_for(setup.device),
                      config.run.reproducible ? Summation::by_shard : Summation::plain, deadline);
}

std::unique_ptr<Network> make_network_on_all(const Config& config, const StateShape& shape,
                                             std::string_view energy_file,
                                             Communicator& communicator) {
  std::unique_ptr<Network> network;
  agree(communicator, [&] {
    network = make_network(config.energy, shape, config.run.seed, energy_file,
                           config.sampler.box.value_or(config.data.range));
  });
  return network;
}

}  // namespace stanley
