#include "train/objective.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/autograd.h>

#include <span>

#include "engines/factory.hpp"

namespace stanley {
namespace {

double sum_of(const at::Tensor& values) { return values.sum().item<double>(); }

}  // namespace

CountedChains CountedChains::every_one(std::int64_t count, double all, at::Device device) {
  return {at::ones({count}, at::TensorOptions(device).dtype(at::kFloat)), all};
}

CountedChains count_chains(const std::vector<std::int64_t>& ages, const ChainsConfig& config,
                           Communicator& communicator, at::Device device) {
  CountedChains every_one = CountedChains::every_one(static_cast<std::int64_t>(ages.size()),
                                                     static_cast<double>(config.active), device);
  if (config.burn_in == 0) return every_one;
  at::Tensor mine = at::zeros({static_cast<std::int64_t>(ages.size())}, at::kFloat);
  double all = 0;
  for (std::size_t i = 0; i < ages.size(); ++i) {
    if (ages[i] < config.burn_in) continue;
    mine.mutable_data_ptr<float>()[i] = 1;
    ++all;
  }
  communicator.sum(std::span(&all, 1));
  return all > 0 ? CountedChains{mine.to(device), all} : every_one;
}

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
      batch_(static_cast<double>(config.data.batch)) {}

void ContrastiveObjective::load() {
  const c10::AutoGradMode with_gradient(true);
  parameters_ = network_.parameter_values();
  weights_ = network_.weights(parameters_);
  gradient_->load(weights_);
}

EnergySums ContrastiveObjective::add_up(const at::Tensor& data, const at::Tensor& chains,
                                        const CountedChains& counted, at::Tensor gradients) {
  const std::int64_t parts = gradients.size(0), samples = data.size(0) / parts,
                     active = chains.size(0) / parts;
  // Each part's samples, and behind them its chains.
  const auto of_both = [&](const at::Tensor& of_data, const at::Tensor& of_chains) {
    return at::cat(
               {of_data.unflatten(0, {parts, samples}), of_chains.unflatten(0, {parts, active})}, 1)
        .flatten(0, 1);
  };
  const auto factors = [&](double of_data, double of_chains) {
    return of_both(at::full({data.size(0)}, of_data, data.options()), counted.mine * of_chains);
  };
  at::Tensor energy = at::empty({data.size(0) + chains.size(0)}, data.options());
  gradient_->evaluate_parts(parts, of_both(data, chains), factors(1 / batch_, -1 / counted.all),
                            factors(2 * penalty_ / batch_, 2 * penalty_ / counted.all), energy,
                            [&](std::int64_t part, const std::vector<at::Tensor>& of_weights) {
                              store(of_weights, gradients[part]);
                            });
  const at::Tensor energies = energy.to(at::kCPU, at::kDouble).view({parts, samples + active});
  const at::Tensor counts = counted.mine.to(at::kCPU, at::kDouble).view({parts, active});
  EnergySums sums;
  for (std::int64_t part = 0; part < parts; ++part) {
    const at::Tensor of_data = energies[part].narrow(0, 0, samples);
    const at::Tensor of_chains = energies[part].narrow(0, samples, active) * counts[part];
    sums +=
        {sum_of(of_data), sum_of(of_chains), sum_of(of_data.square()), sum_of(of_chains.square())};
  }
  return sums;
}

/// From the gradient with respect to the weights to that with respect to the parameters [P].
void ContrastiveObjective::store(const std::vector<at::Tensor>& of_weights,
                                 at::Tensor gradient) const {
  if (parameters_.empty()) return;
  const auto gradients = torch::autograd::grad(weights_, parameters_, of_weights, true);
  const c10::NoGradGuard no_gradient;
  std::int64_t offset = 0;
  for (const at::Tensor& part : gradients) {
    gradient.narrow(0, offset, part.numel()).copy_(part.flatten());
    offset += part.numel();
  }
}

}  // namespace stanley
