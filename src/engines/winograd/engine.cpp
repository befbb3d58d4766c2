#include <ATen/ATen.h>

#include "engines/factory.hpp"
#include "engines/state_blocks.hpp"
#include "engines/winograd/pass.hpp"

namespace stanley {
namespace {

class WinogradEngine : public GradientEngine {
 public:
  explicit WinogradEngine(const Plan& plan)
      : elements_(element_count(plan.state_shape())), pass_(plan, false) {}

  void load(const std::vector<at::Tensor>& weights) override { pass_.load(weights); }

  void evaluate(const Points& points, at::Tensor& energy, at::Tensor* gradient) override {
    evaluate_in_blocks(
        winograd_block, {points.state, energy, gradient}, workspaces_,
        [&] { return pass_.make_workspace(); },
        [&](Workspace& workspace, std::int64_t count, const float* states, double* energies,
            float* gradients) { evaluate_block(workspace, count, states, energies, gradients); });
  }

  double energy_error() const override { return float32_energy_error; }

  bool batch_invariant() const override { return true; }

  int working_threads(std::int64_t states) const override {
    return static_cast<int>(std::min<std::int64_t>(loop_threads(), states));
  }

  std::string description() const override { return "Winograd float32"; }

 private:
  using Workspace = WinogradPass::Workspace;

  void evaluate_block(Workspace& workspace, std::int64_t count, const float* state, double* energy,
                      float* gradient) const {
    pass_.forward(workspace, count, state);
    for (std::int64_t i = 0; i < count; ++i) {
      energy[i] = static_cast<double>(pass_.energy(workspace, i));
      if (gradient != nullptr) pass_.start_backward(workspace, i);
    }
    if (gradient == nullptr) return;
    pass_.backward(workspace, count, {.state = [&](std::int64_t i, const float* image) {
                     pass_.input().backward(workspace.input, image, gradient + i * elements_);
                   }});
  }

  std::int64_t elements_;
  WinogradPass pass_;
  std::vector<Workspace> workspaces_;  // one for each thread
};

}  // namespace

std::unique_ptr<GradientEngine> make_winograd_engine(const Plan& plan) {
  return std::make_unique<WinogradEngine>(plan);
}

}  // namespace stanley
