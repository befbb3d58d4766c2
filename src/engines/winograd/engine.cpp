#include <ATen/ATen.h>

#include "engines/factory.hpp"
#include "engines/state_blocks.hpp"
#include "engines/winograd/pass.hpp"

namespace stanley {
namespace {

class WinogradEngine : public GradientEngine {
 public:
  explicit WinogradEngine(const Plan& plan) : pass_(plan, false) {}

  void load(const std::vector<at::Tensor>& weights) override { pass_.load(weights); }

  void evaluate(const Points& points, at::Tensor& energy, at::Tensor* gradient) override {
    evaluate_in_blocks(
        winograd_block, {points.state, energy, gradient}, workspaces_,
        [&] { return pass_.make_workspace(); },
        [&](Workspace& workspace, const StateBatch& block) { evaluate_block(workspace, block); });
  }

  double energy_error() const override { return float32_energy_error; }

  bool batch_invariant() const override { return true; }

  int working_threads(std::int64_t states) const override {
    return static_cast<int>(std::min<std::int64_t>(loop_threads(), states));
  }

  std::string description() const override { return "Winograd float32"; }

 private:
  using Workspace = WinogradPass::Workspace;

  void evaluate_block(Workspace& workspace, const StateBatch& block) const {
    pass_.forward(workspace, block.count, block.states);
    for (std::int64_t i = 0; i < block.count; ++i) {
      block.energies[i] = static_cast<double>(pass_.energy(workspace, i));
      if (block.gradients != nullptr) pass_.start_backward(workspace, i);
    }
    if (block.gradients == nullptr) return;
    pass_.backward(workspace, block.count, {.state = [&](std::int64_t i, const float* image) {
                     pass_.input().backward(workspace.input, image,
                                            block.gradients + i * block.elements);
                   }});
  }

  WinogradPass pass_;
  std::vector<Workspace> workspaces_;  // one for each thread
};

}  // namespace

std::unique_ptr<GradientEngine> make_winograd_engine(const Plan& plan) {
  return std::make_unique<WinogradEngine>(plan);
}

}  // namespace stanley
