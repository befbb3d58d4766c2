#include "train/optimizer.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <cmath>

namespace stanley {
namespace {

double norm_of(const at::Tensor& flat) {
  return flat.detach().norm(2, at::kDouble).to(at::kCPU).item<double>();
}

}  // namespace

Optimizer::Optimizer(const OptimizerConfig& config, Network& network, at::Device device)
    : config_(config) {
  const c10::NoGradGuard no_gradient;
  std::vector<at::Tensor> flat{at::empty({0})};  // a network may have no parameters
  std::int64_t offset = 0;
  for (const NamedTensor& parameter : network.parameters()) {
    flat.push_back(parameter.value.detach().flatten());
    slices_.push_back(
        {parameter.name, parameter.value.sizes().vec(), offset, parameter.value.numel()});
    offset += parameter.value.numel();
  }
  values_ = at::cat(flat).to(device);
  average_ = values_.clone();
  first_moment_ = at::zeros_like(values_);
  second_moment_ = at::zeros_like(values_);
  steps_ = at::zeros({}, values_.options());
  for (std::size_t i = 0; i < slices_.size(); ++i) {
    network.parameters()[i].value = slices_[i].of(values_).detach().set_requires_grad(true);
  }
  for (NamedTensor& buffer : network.buffers()) buffer.value = buffer.value.to(device);
}

double Optimizer::update(at::Tensor& gradient, std::int64_t iteration, double factor) {
  const c10::NoGradGuard no_gradient;
  const double norm = norm_of(gradient);
  if (config_.gradient_clip && norm > *config_.gradient_clip) {
    gradient.mul_(*config_.gradient_clip / norm);
  }
  step(gradient, iteration, config_.learning_rate * factor);
  const double decay = config_.average;
  const double weight = (1 - decay) / (1 - std::pow(decay, static_cast<double>(iteration + 1)));
  average_.lerp_(values_, weight);
  return norm;
}

void Optimizer::step(const at::Tensor& gradient, std::int64_t iteration, double learning_rate) {
  if (config_.type == OptimizerType::sgd) {
    first_moment_.mul_(config_.momentum).add_(gradient);
    values_.sub_(first_moment_, learning_rate);
    return;
  }
  steps_.fill_(static_cast<double>(iteration + 1));
  at::_fused_adam_({values_}, {gradient}, {first_moment_}, {second_moment_}, {}, {steps_},
                   learning_rate, config_.betas[0], config_.betas[1], 0, config_.epsilon, false,
                   false);
}

double Optimizer::parameter_norm() const { return norm_of(values_); }

}  // namespace stanley
