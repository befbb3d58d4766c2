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
      const auto layout =
          weight.dim() == 4 ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous;
      weights_.push_back(weight.detach().contiguous(layout).set_requires_grad(true));
    }
  }

  std::vector<at::Tensor> evaluate(const at::Tensor& state, const at::Tensor& constant,
                                   const at::Tensor& slope, at::Tensor& energy) override {
    const c10::AutoGradMode with_gradient(true);
    const auto layout =
        state.dim() == 4 ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous;
    const at::Tensor values = network_.forward(state.contiguous(layout), weights_);
    const auto gradients =
        torch::autograd::grad({(values * (constant + slope / 2 * values)).sum()}, weights_);
    const c10::NoGradGuard no_gradient;
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
