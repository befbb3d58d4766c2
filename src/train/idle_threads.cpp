#include "train/idle_threads.hpp"

#include <fmt/format.h>

namespace stanley {
namespace {

std::string advice(const Config& config) {
  const bool by_libtorch =
      config.energy.type == EnergyType::mlp || config.energy.type == EnergyType::torchscript;
  if (by_libtorch && config.run.reproducible) {
    return "with run.reproducible LibTorch computes this network on one thread; start more ranks "
           "of "
           "one thread each";
  }
  return "raise chains.active and data.batch, or start more ranks of fewer threads each";
}

}  // namespace

std::string idle_threads(const Config& config, const ComputeSetup& setup,
                         const WorkingThreads& working) {
  if (setup.device.kind != DeviceKind::cpu) return "";
  const int threads = setup.threads;
  std::string text;
  if (working.in_chains < threads) {
    text = fmt::format("{} of {} threads have work in the chain steps ({} chains a rank)",
                       working.in_chains, threads, working.chains);
  }
  if (working.in_weights < threads) {
    text += fmt::format("{}{} of {} threads have work in the weight gradient ({} states a rank)",
                        text.empty() ? "" : ", ", working.in_weights, threads, working.states);
  }
  return text.empty() ? text : text + ": " + advice(config);
}

}  // namespace stanley
