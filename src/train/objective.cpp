#include "train/objective.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/autograd.h>

#include <span>

#include "engines/factory.hpp"

namespace stanley {
namespace {

double sum_of(const at::Tensor& values) { return values.sum().item<double>(); }

/// Each part's rows of the first tensor, behind them its rows of the second, and so on.
at::Tensor by_parts(std::int64_t parts, std::vector<at::Tensor> rows) {
  for (at::Tensor& some : rows) some = some.unflatten(0, {parts, -1});
  return at::cat(rows, 1).flatten(0, 1);
}

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
                                        const CountedChains& counted, const WeightedStates& others,
                                        at::Tensor gradients) {
  const std::int64_t parts = gradients.size(0), samples = data.size(0) / parts,
                     active = chains.size(0) / parts;
  const auto of_data = [&](double factor) {
    return at::full({data.size(0)}, factor, data.options());
  };
  std::vector<at::Tensor> states{data, chains},
      constant{of_data(1 / batch_), counted.mine * (-1 / counted.all)},
      slope{of_data(2 * penalty_ / batch_), counted.mine * (2 * penalty_ / counted.all)};
  if (others.states.defined()) {
    states.push_back(others.states);
    constant.push_back(others.factors);
    slope.push_back(at::zeros_like(others.factors));
  }
  const at::Tensor together = by_parts(parts, states);
  at::Tensor energy = at::empty({together.size(0)}, data.options());
  gradient_->evaluate_parts(parts, together, by_parts(parts, constant), by_parts(parts, slope),
                            energy, [&](std::int64_t part, const std::vector<at::Tensor>& weights) {
                              store(weights, gradients[part]);
                            });
  const at::Tensor energies = energy.to(at::kCPU, at::kDouble).view({parts, -1});
  const at::Tensor counts = counted.mine.to(at::kCPU, at::kDouble).view({parts, active});
  EnergySums sums;
  for (std::int64_t part = 0; part < parts; ++part) {
    const at::Tensor of_samples = energies[part].narrow(0, 0, samples);
    const at::Tensor of_chains = energies[part].narrow(0, samples, active) * counts[part];
    sums += {sum_of(of_samples), sum_of(of_chains), sum_of(of_samples.square()),
             sum_of(of_chains.square())};
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
