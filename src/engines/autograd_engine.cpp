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

  void evaluate(const Points& points, at::Tensor& energy, at::Tensor* gradient) override {
    const Timed timed(Operation::autograd);
    const c10::AutoGradMode with_gradient(gradient != nullptr);
    const Points input = leaf(points);
    const at::Tensor values = network_.forward(input, weights_);
    if (gradient != nullptr) {
      const auto gradients = torch::autograd::grad({values.sum()}, {input.state});
      const c10::NoGradGuard no_gradient;
      gradient->copy_(gradients[0]);
    }
    energy.copy_(values.detach());
  }

  double energy_error() const override {
    return type_ == at::kBFloat16 ? bfloat16_energy_error : float32_energy_error;
  }

  bool batch_invariant() const override { return false; }

  bool has_hessian_products() const override { return true; }

  void hessian_product(const Points& points, const at::Tensor& vector,
                       at::Tensor& product) override {
    const c10::AutoGradMode with_gradient(true);
    const Points input = leaf(points);
    const at::Tensor energy = network_.forward(input, weights_).sum();
    const auto gradient = torch::autograd::grad({energy}, {input.state}, {}, true, true);
    const at::Tensor along = (gradient[0] * vector.to(gradient[0].options())).sum();
    const auto products = torch::autograd::grad({along}, {input.state});
    const c10::NoGradGuard no_gradient;
    product.copy_(products[0]);
  }

  std::string description() const override {
    const std::string network = network_.description();
    return std::string("autograd ") + (type_ == at::kBFloat16 ? "bfloat16" : "float32") +
           (network.empty() ? "" : ", " + network);
  }

 private:
  /// The points in the engine's type and layout, with states that gradients are taken of.
  Points leaf(const Points& points) const {
    const at::Tensor& state = points.state;
    at::Tensor input = state.detach().to(device_, type_, false, true, network_.layout(state.dim()));
    return {input.set_requires_grad(true), points.condition};
  }

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
