#include "train/objective.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/autograd.h>

namespace stanley {
namespace {

double sum_of(const at::Tensor& values) { return values.sum().item<double>(); }

}  // namespace

EnergySums& EnergySums::operator+=(const EnergySums& other) {
  data += other.data;
  chains += other.chains;
  data_squared += other.data_squared;
  chains_squared += other.chains_squared;
  return *this;
}

ContrastiveObjective::ContrastiveObjective(const Config& config, const Network& network,
                                           Precision precision, at::Device device)
    : network_(network),
      gradient_(make_weight_gradient(network, config.energy, precision, device)),
      penalty_(config.objective.energy_penalty),
      batch_(static_cast<double>(config.data.batch)),
      active_(static_cast<double>(config.chains.active)) {}

void ContrastiveObjective::load() {
  const c10::AutoGradMode with_gradient(true);
  parameters_ = network_.parameter_values();
  weights_ = network_.weights(parameters_);
  gradient_->load(weights_);
}

EnergySums ContrastiveObjective::add_up(const at::Tensor& data, const at::Tensor& chains,
                                        at::Tensor gradient) {
  const at::Tensor states = at::cat({data, chains});
  const auto of_both = [&](double of_data, double of_chains) {
    return at::cat({at::full({data.size(0)}, of_data, states.options()),
                    at::full({chains.size(0)}, of_chains, states.options())});
  };
  at::Tensor energy = at::empty({states.size(0)}, states.options());
  const std::vector<at::Tensor> of_weights =
      gradient_->evaluate(states, of_both(1 / batch_, -1 / active_),
                          of_both(2 * penalty_ / batch_, 2 * penalty_ / active_), energy);
  const auto gradients = torch::autograd::grad(weights_, parameters_, of_weights, true);
  const c10::NoGradGuard no_gradient;
  std::int64_t offset = 0;
  for (const at::Tensor& part : gradients) {
    gradient.narrow(0, offset, part.numel()).copy_(part.flatten());
    offset += part.numel();
  }
  const at::Tensor energies = energy.to(at::kCPU, at::kDouble);
  const at::Tensor of_data = energies.narrow(0, 0, data.size(0));
  const at::Tensor of_chains = energies.narrow(0, data.size(0), chains.size(0));
  return {sum_of(of_data), sum_of(of_chains), sum_of(of_data.square()), sum_of(of_chains.square())};
}

}  // namespace stanley
