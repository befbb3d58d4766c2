#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <utility>

#include "energy/operation_times.hpp"
#include "engines/factory.hpp"

namespace stanley {
namespace {

at::ScalarType type_of(Precision precision) {
  return precision == Precision::bfloat16 ? at::kBFloat16 : at::kFloat;
}

class AutogradEngine : public GradientEngine {
 public:
  AutogradEngine(const Network& network, Precision precision, at::Device device)
      : network_(network), type_(type_of(precision)), device_(device) {}

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

class AutogradWeightGradient : public WeightGradient {
 public:
  AutogradWeightGradient(const Network& network, Precision precision)
      : network_(network), type_(type_of(precision)) {}

  void load(const std::vector<at::Tensor>& weights) override {
    weights_.clear();
    for (const at::Tensor& weight : weights) {
      weights_.push_back(
          weight.detach().contiguous(network_.layout(weight.dim())).set_requires_grad(true));
    }
  }

  std::vector<at::Tensor> evaluate(const at::Tensor& state, const at::Tensor& constant,
                                   const at::Tensor& slope, at::Tensor& energy) override {
    // What autograd keeps for the way back grows with the states that go together.
    const std::int64_t count = state.size(0),
                       parts = (state.numel() + most_elements - 1) / most_elements,
                       size = (count + parts - 1) / parts;
    std::vector<at::Tensor> sums;
    for (std::int64_t first = 0; first < count; first += size) {
      const auto part = [&](const at::Tensor& whole) {
        return whole.narrow(0, first, std::min(size, count - first));
      };
      auto gradients = evaluate_part(part(state), part(constant), part(slope), part(energy));
      for (std::size_t i = 0; i < sums.size(); ++i) sums[i].add_(gradients[i]);
      if (first == 0) sums = std::move(gradients);
    }
    return sums;
  }

 private:
  /// Elements of the states that go together: 85 of 3×32×32.
  static constexpr std::int64_t most_elements = 1 << 18;

  std::vector<at::Tensor> evaluate_part(const at::Tensor& state, const at::Tensor& constant,
                                        const at::Tensor& slope, const at::Tensor& energy) const {
    const c10::AutoGradMode with_gradient(true);
    std::vector<at::Tensor> weights;
    for (const at::Tensor& weight : weights_) weights.push_back(weight.to(type_));
    const at::Tensor values =
        network_.forward(state.to(type_).contiguous(network_.layout(state.dim())), weights);
    energy.copy_(values.detach());
    if (weights_.empty()) return {};
    auto gradients = torch::autograd::grad({(values * (constant + slope / 2 * values)).sum()},
                                           weights_, {}, std::nullopt, false, true);
    const c10::NoGradGuard no_gradient;
    // A user's network may have weights that it does not use.
    for (std::size_t i = 0; i < gradients.size(); ++i) {
      if (!gradients[i].defined()) gradients[i] = at::zeros_like(weights_[i]);
    }
    return gradients;
  }

  const Network& network_;
  at::ScalarType type_;
  std::vector<at::Tensor> weights_;  // leaves of their own, float32
};

}  // namespace

std::unique_ptr<GradientEngine> make_autograd_engine(const Network& network, Precision precision,
                                                     at::Device device) {
  return std::make_unique<AutogradEngine>(network, precision, device);
}

std::unique_ptr<WeightGradient> make_autograd_weight_gradient(const Network& network,
                                                              Precision precision) {
  return std::make_unique<AutogradWeightGradient>(network, precision);
}

}  // namespace stanley
