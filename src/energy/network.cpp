#include "energy/network.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <cmath>

#include "config/error.hpp"
#include "energy/networks.hpp"
#include "energy/torchscript.hpp"
#include "random/random.hpp"

namespace stanley {
namespace {

/// The weight as a matrix of one row for each output.
at::Tensor as_matrix(const at::Tensor& weight) { return weight.reshape({weight.size(0), -1}); }

at::Tensor unit(const at::Tensor& vector) { return vector / vector.norm().clamp_min(1e-12); }

/// The estimate uᵀWv of the largest singular value, with v = Wᵀu / ‖Wᵀu‖ held constant.
at::Tensor largest_singular_value(const at::Tensor& weight, const at::Tensor& u) {
  const at::Tensor v = unit(as_matrix(weight.detach()).t().mv(u));
  return u.dot(as_matrix(weight).mv(v));
}

}  // namespace

std::vector<at::Tensor> Network::parameter_values() const {
  std::vector<at::Tensor> values;
  for (const NamedTensor& parameter : parameters_) values.push_back(parameter.value);
  return values;
}

std::vector<at::Tensor> Network::weights(const std::vector<at::Tensor>& parameters) const {
  std::vector<at::Tensor> result = parameters;
  for (std::size_t i = 0; i < normalized_.size(); ++i) {
    if (normalized_[i] < 0) continue;
    const at::Tensor& u = buffers_[static_cast<std::size_t>(normalized_[i])].value;
    result[i] = parameters[i] / largest_singular_value(parameters[i], u.to(parameters[i].device()));
  }
  return result;
}

void Network::update_buffers() {
  const c10::NoGradGuard no_gradient;
  for (std::size_t i = 0; i < normalized_.size(); ++i) {
    if (normalized_[i] < 0) continue;
    at::Tensor& u = buffers_[static_cast<std::size_t>(normalized_[i])].value;
    const at::Tensor matrix = as_matrix(parameters_[i].value);
    u.copy_(unit(matrix.mv(unit(matrix.t().mv(u)))));
  }
}

void Network::add_parameter(const std::string& name, at::IntArrayRef shape, std::int64_t fan_in,
                            std::uint32_t seed) {
  at::Tensor value = at::empty(shape, at::kFloat);
  const float bound = 1.0F / std::sqrt(static_cast<float>(fan_in));
  const random::Key key{seed, random::Stream::initial_parameters, 0};
  const auto id = static_cast<std::uint32_t>(parameters_.size());
  auto* data = value.mutable_data_ptr<float>();
  for (std::int64_t i = 0; i < value.numel(); ++i) {
    data[i] = bound * (2.0F * random::uniform(key, id, 0, static_cast<std::uint32_t>(i)) - 1.0F);
  }
  parameters_.push_back({name, value.set_requires_grad(true)});
}

void Network::normalize_spectrally(std::uint32_t seed) {
  const random::Key key{seed, random::Stream::initial_parameters, 1};
  normalized_.assign(parameters_.size(), -1);
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    const at::Tensor& weight = parameters_[i].value;
    if (weight.dim() < 2) continue;
    at::Tensor u = at::empty({weight.size(0)}, at::kFloat);
    for (std::int64_t row = 0; row < u.numel(); ++row) {
      u.mutable_data_ptr<float>()[row] =
          random::uniform(key, static_cast<std::uint32_t>(i), 0, static_cast<std::uint32_t>(row));
    }
    normalized_[i] = static_cast<std::int64_t>(buffers_.size());
    buffers_.push_back({parameters_[i].name + "_u", unit(u)});
  }
  // The estimate starts near the true value; from there one iteration for each update follows it.
  for (int iteration = 0; iteration < 20; ++iteration) update_buffers();
}

std::unique_ptr<Network> make_network(const EnergyConfig& config, const StateShape& shape,
                                      std::uint32_t seed, std::string_view file,
                                      const StateRange& range) {
  const bool image = shape.size() == 3;
  const bool only_images = config.type == EnergyType::convnet || config.type == EnergyType::resnet;
  if (only_images && !image) {
    throw Error(ExitCode::configuration,
                "energy.type: " + std::string(to_string(config.type)) +
                    " needs images (channel, height, width), and the data has " +
                    std::to_string(shape.size()) + " dimension(s); use energy.type: mlp");
  }
  switch (config.type) {
    case EnergyType::convnet:
      return make_planned(config, convnet_plan(config, shape), seed);
    case EnergyType::resnet:
      return make_planned(config, resnet_plan(config, shape), seed);
    case EnergyType::torchscript:
      return make_torchscript(config, shape, seed, file, range);
    case EnergyType::mlp:
      return make_mlp(config, shape, seed);
  }
  throw Error(ExitCode::bug, "a network of unknown type was asked for");
}

}  // namespace stanley
