#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "config/config.hpp"
#include "energy/network.hpp"

namespace stanley {

/// Where a parameter stands in the flat vectors of the optimiser.
struct ParameterSlice {
  std::string name;
  std::vector<std::int64_t> shape;
  std::int64_t offset, count;

  at::Tensor of(const at::Tensor& flat) const { return flat.narrow(0, offset, count).view(shape); }
};

/// Holds all parameters in one flat vector, so that a gradient is reduced in one message and an
/// update is one pass; the network's parameters become views of it.
class Optimizer {
 public:
  /// Moves the network's parameters to `device`.
  Optimizer(const OptimizerConfig& config, Network& network, at::Device device);

  /// One update by the mean gradient [P] after `iteration` finished ones (of the stage), with the
  /// learning rate times `factor`: clipping, then Adam (Kingma and Ba, arXiv 1412.6980, algorithm
  /// 1) or SGD with momentum, then the running average. Returns the gradient's norm before
  /// clipping.
  double update(at::Tensor& gradient, std::int64_t iteration, double factor);

  std::int64_t size() const { return values_.numel(); }
  const std::vector<ParameterSlice>& slices() const { return slices_; }

  // Flat vectors [P], on the device.
  at::Tensor& values() { return values_; }
  at::Tensor& first_moment() { return first_moment_; }
  at::Tensor& second_moment() { return second_moment_; }
  /// avgₜ = avgₜ₋₁ + (1−d)/(1−dᵗ)·(θₜ − avgₜ₋₁): the exponential average with bias correction.
  at::Tensor& average() { return average_; }

  double parameter_norm() const;

 private:
  void step(const at::Tensor& gradient, std::int64_t iteration, double learning_rate);

  OptimizerConfig config_;
  std::vector<ParameterSlice> slices_;
  at::Tensor values_, average_, first_moment_, second_moment_, steps_;
};

}  // namespace stanley
