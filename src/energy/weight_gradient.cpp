#include "energy/weight_gradient.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/autograd.h>

namespace stanley {
namespace {

class AutogradWeightGradient : public WeightGradient {
 public:
  explicit AutogradWeightGradient(const Network& network) : network_(network) {}

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
    const at::Tensor values =
        network_.forward(state.contiguous(network_.layout(state.dim())), weights_);
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
  std::vector<at::Tensor> weights_;  // leaves of their own
};

}  // namespace

std::unique_ptr<WeightGradient> make_autograd_weight_gradient(const Network& network) {
  return std::make_unique<AutogradWeightGradient>(network);
}

std::unique_ptr<WeightGradient> make_weight_gradient(const Network& network,
                                                     const EnergyConfig& config,
                                                     at::Device device) {
  if (config.type == EnergyType::convnet && device.is_cpu()) {
    return make_convnet_weight_gradient(config, network.state_shape());
  }
  return make_autograd_weight_gradient(network);
}

}  // namespace stanley
