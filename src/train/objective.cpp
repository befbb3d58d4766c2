#include "train/objective.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/autograd.h>

namespace stanley {
namespace {

double sum_of(const at::Tensor& values) {
  return values.detach().to(at::kCPU, at::kDouble).sum().item<double>();
}

}  // namespace

EnergySums& EnergySums::operator+=(const EnergySums& other) {
  data += other.data;
  chains += other.chains;
  data_squared += other.data_squared;
  chains_squared += other.chains_squared;
  return *this;
}

ContrastiveObjective::ContrastiveObjective(const Config& config, const Network& network)
    : network_(network),
      penalty_(config.objective.energy_penalty),
      batch_(static_cast<double>(config.data.batch)),
      active_(static_cast<double>(config.chains.active)) {}

EnergySums ContrastiveObjective::add_up(const at::Tensor& data, const at::Tensor& chains,
                                        at::Tensor gradient) const {
  const std::vector<at::Tensor> parameters = network_.parameter_values();
  std::vector<at::Tensor> weights = network_.weights(parameters);
  const bool image = data.dim() == 4;
  const auto layout = image ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous;
  for (at::Tensor& weight : weights) {
    if (weight.dim() == 4) weight = weight.contiguous(at::MemoryFormat::ChannelsLast);
  }
  const at::Tensor energy = network_.forward(at::cat({data, chains}).contiguous(layout), weights);
  const at::Tensor of_data = energy.narrow(0, 0, data.size(0));
  const at::Tensor of_chains = energy.narrow(0, data.size(0), chains.size(0));
  const at::Tensor data_squared = of_data.square().sum();
  const at::Tensor chains_squared = of_chains.square().sum();
  const at::Tensor loss = (of_data.sum() + penalty_ * data_squared) / batch_ +
                          (penalty_ * chains_squared - of_chains.sum()) / active_;
  const auto gradients = torch::autograd::grad({loss}, parameters);
  const c10::NoGradGuard no_gradient;
  std::int64_t offset = 0;
  for (const at::Tensor& part : gradients) {
    gradient.narrow(0, offset, part.numel()).copy_(part.flatten());
    offset += part.numel();
  }
  return {sum_of(of_data), sum_of(of_chains), sum_of(data_squared), sum_of(chains_squared)};
}

}  // namespace stanley
