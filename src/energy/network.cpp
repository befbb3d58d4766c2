#include "energy/network.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <cmath>

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
  for (std::size_t k = 0; k < normalized_.size(); ++k) {
    const at::Tensor& weight = parameters[normalized_[k]];
    const at::Tensor u = buffers_[k].value.to(weight.device());
    result[normalized_[k]] = weight / largest_singular_value(weight, u);
  }
  return result;
}

void Network::update_buffers() {
  const c10::NoGradGuard no_gradient;
  for (std::size_t k = 0; k < normalized_.size(); ++k) {
    at::Tensor& u = buffers_[k].value;
    const at::Tensor matrix = as_matrix(parameters_[normalized_[k]].value);
    u.copy_(unit(matrix.mv(unit(matrix.t().mv(u)))));
  }
}

void Network::add_layer(const std::string& name, const std::vector<std::int64_t>& weight,
                        std::int64_t positions, std::uint32_t seed) {
  const std::int64_t count = element_count(weight), fan_in = count / weight[0];
  const float bound = 1.0F / std::sqrt(static_cast<float>(fan_in));
  const auto add = [&](const std::string& parameter, at::IntArrayRef shape) {
    const random::Key key{seed, random::Stream::initial_parameters, 0};
    const auto id = static_cast<std::uint32_t>(2 * left_out_ + parameters_.size());
    const at::Tensor value = bound * (2 * uniform(key, id, shape) - 1);
    parameters_.push_back({name + parameter, value.set_requires_grad(true)});
  };
  add(".weight", weight);
  add(".bias", {weight[0]});
  forward_flops_ = forward_flops_.value_or(0) +
                   2.0 * static_cast<double>(count) * static_cast<double>(positions);
}

void Network::normalize_spectrally(std::uint32_t seed) {
  const random::Key key{seed, random::Stream::initial_parameters, 1};
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    const at::Tensor& weight = parameters_[i].value;
    if (weight.dim() < 2) continue;
    const at::Tensor u = uniform(key, static_cast<std::uint32_t>(i), {weight.size(0)});
    normalized_.push_back(i);
    buffers_.push_back({parameters_[i].name + "_u", unit(u)});
  }
  // The estimate starts near the true value; from there one iteration for each update follows it.
  for (int iteration = 0; iteration < 20; ++iteration) update_buffers();
}

at::Tensor Network::uniform(const random::Key& key, std::uint32_t id, at::IntArrayRef shape) {
  at::Tensor values = at::empty(shape, at::kFloat);
  auto* data = values.mutable_data_ptr<float>();
  for (std::int64_t i = 0; i < values.numel(); ++i) {
    data[i] = random::uniform(key, id, 0, static_cast<std::uint32_t>(i));
  }
  return values;
}

}  // namespace stanley
