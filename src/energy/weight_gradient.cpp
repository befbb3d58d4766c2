#include "energy/weight_gradient.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/autograd.h>

namespace stanley {
namespace {

class AutogradWeightGradient : public WeightGradient {
 public:
  AutogradWeightGradient(const Network& network, Precision precision)
      : network_(network), type_(precision == Precision::bfloat16 ? at::kBFloat16 : at::kFloat) {}

  void load(const std::vector<at::Tensor>& weights) override {
    weights_.clear();
    for (const at::Tensor& weight : weights) {
      weights_.push_back(
          weight.detach().contiguous(network_.layout(weight.dim())).set_requires_grad(true));
    }
  }

  std::vector<at::Tensor> evaluate(const at::Tensor& state, const at::Tensor& constant,
                                   const at::Tensor& slope, at::Tensor& energy) override {
    const c10::AutoGradMode with_gradient(true);
    std::vector<at::Tensor> weights;
    for (const at::Tensor& weight : weights_) weights.push_back(weight.to(type_));
    const at::Tensor values =
        network_.forward(state.to(type_).contiguous(network_.layout(state.dim())), weights);
    auto gradients = torch::autograd::grad({(values * (constant + slope / 2 * values)).sum()},
                                           weights_, {}, std::nullopt, false, true);
    const c10::NoGradGuard no_gradient;
    // A user's network may have weights that it does not use.
    for (std::size_t i = 0; i < gradients.size(); ++i) {
      if (!gradients[i].defined()) gradients[i] = at::zeros_like(weights_[i]);
    }
    energy.copy_(values);
    return gradients;
  }

 private:
  const Network& network_;
  at::ScalarType type_;
  std::vector<at::Tensor> weights_;  // leaves of their own, float32
};

}  // namespace

std::unique_ptr<WeightGradient> make_autograd_weight_gradient(const Network& network,
                                                              Precision precision) {
  return std::make_unique<AutogradWeightGradient>(network, precision);
}

std::unique_ptr<WeightGradient> make_weight_gradient(const Network& network,
                                                     const EnergyConfig& config,
                                                     Precision precision, at::Device device) {
  if (config.type == EnergyType::convnet && device.is_cpu()) {
    return make_convnet_weight_gradient(config, network.state_shape());
  }
  const bool in_products = device.is_cuda() && config.type != EnergyType::torchscript;
  return make_autograd_weight_gradient(network, in_products ? precision : Precision::float32);
}

}  // namespace stanley
