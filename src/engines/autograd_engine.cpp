#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/autograd.h>

#include "energy/operation_times.hpp"
#include "engines/factory.hpp"

namespace stanley {
namespace {

class AutogradEngine : public GradientEngine {
 public:
  AutogradEngine(const Network& network, Precision precision, at::Device device)
      : network_(network),
        type_(precision == Precision::bfloat16 ? at::kBFloat16 : at::kFloat),
        device_(device) {}

  void load(const std::vector<at::Tensor>& weights) override {
    const c10::NoGradGuard no_gradient;
    weights_.clear();
    for (const at::Tensor& weight : weights) {
      // A copy always: the optimiser updates the parameters in place.
      weights_.push_back(
          weight.detach().to(device_, type_, false, true, network_.layout(weight.dim())));
    }
  }

  void evaluate(const at::Tensor& state, at::Tensor& energy, at::Tensor& gradient) override {
    const Timed timed(Operation::autograd);
    const c10::AutoGradMode with_gradient(true);
    at::Tensor input = state.detach().to(device_, type_, false, true, network_.layout(state.dim()));
    input.set_requires_grad(true);
    const at::Tensor values = network_.forward(input, weights_);
    const auto gradients = torch::autograd::grad({values.sum()}, {input});
    const c10::NoGradGuard no_gradient;
    energy.copy_(values);
    gradient.copy_(gradients[0]);
  }

  bool batch_invariant() const override { return false; }

  std::string description() const override {
    const std::string network = network_.description();
    return std::string("autograd ") + (type_ == at::kBFloat16 ? "bfloat16" : "float32") +
           (network.empty() ? "" : ", " + network);
  }

 private:
  const Network& network_;
  at::ScalarType type_;
  at::Device device_;
  std::vector<at::Tensor> weights_;
};

}  // namespace

std::unique_ptr<GradientEngine> make_autograd_engine(const Network& network, Precision precision,
                                                     at::Device device) {
  return std::make_unique<AutogradEngine>(network, precision, device);
}

}  // namespace stanley
