#include "train/setup.hpp"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <omp.h>

#include <chrono>

#include "config/error.hpp"
#include "energy/gradient_engine.hpp"
#include "parallel/threads.hpp"

namespace stanley {

void require_shards(const Config& config, const Session& session) {
  if (session.size() <= config.chains.shards) return;
  throw Error(ExitCode::configuration,
              fmt::format("chains.shards is {}, fewer than the {} ranks: each rank needs a shard; "
                          "raise chains.shards or start fewer ranks",
                          config.chains.shards, session.size()));
}

ComputeSetup set_up(const Config& config, Session& session) {
  require_shards(config, session);
  const Device device = choose_device(config.run.device, session);
  const at::Device torch_device =
      device.kind == DeviceKind::cuda
          ? at::Device(at::kCUDA, static_cast<at::DeviceIndex>(device.index))
          : at::Device(at::kCPU);
  const int threads = threads_per_rank(session, config.run.threads);
  // The order of additions inside LibTorch depends on the threads.
  at::set_num_threads(config.run.reproducible ? 1 : threads);
  omp_set_num_threads(threads);
  // Of a GPU's convolutions only those that give the same bits each time: what a resumed run needs.
  at::globalContext().setDeterministicCuDNN(true);
  return {device, torch_device, resolve_precision(config.run.precision, torch_device), threads};
}

std::unique_ptr<Reducer> reducer_for(const Config& config, const ComputeSetup& setup,
                                     Session& session) {
  const auto deadline = std::chrono::seconds(static_cast<std::int64_t>(config.watchdog.seconds));
  return make_reducer(session.world(), transport_for(setup.device),
                      config.run.reproducible ? Summation::by_shard : Summation::plain, deadline);
}

}  // namespace stanley
