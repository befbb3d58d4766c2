#include <ATen/ATen.h>

#include "energy/gradient_engine.hpp"
#include "energy/resnet_pass.hpp"
#include "energy/state_blocks.hpp"

namespace stanley {
namespace {

class ResnetEngine : public GradientEngine {
 public:
  ResnetEngine(const EnergyConfig& config, const StateShape& shape)
      : elements_(element_count(shape)), pass_(config, shape, rows_for_states) {}

  void load(const std::vector<at::Tensor>& weights) override {
    pass_.load(FlatWeights(weights).data);
  }

  void evaluate(const at::Tensor& state, at::Tensor& energy, at::Tensor& gradient) override {
    evaluate_in_blocks(
        resnet_block, {state, energy, gradient}, workspaces_,
        [&] { return pass_.make_workspace(); },
        [&](Workspace& workspace, std::int64_t count, const float* states, float* energies,
            float* gradients) { evaluate_block(workspace, count, states, energies, gradients); });
  }

  bool batch_invariant() const override { return true; }

  int working_threads(std::int64_t states) const override {
    return static_cast<int>(std::min<std::int64_t>(loop_threads(), states));
  }

  std::string description() const override { return "Winograd float32"; }

 private:
  using Workspace = ResnetPass::Workspace;

  void evaluate_block(Workspace& workspace, std::int64_t count, const float* state, float* energy,
                      float* gradient) const {
    pass_.forward(workspace, count, state);
    for (std::int64_t i = 0; i < count; ++i) {
      energy[i] = pass_.energy(workspace, i);
      pass_.start_backward(workspace, i, 1.0F, nullptr);
    }
    pass_.backward(
        workspace, count, [](std::size_t, const float*) {},
        [](std::size_t, bool, const float*, const float*) {});
    for (std::int64_t i = 0; i < count; ++i) {
      pass_.input().backward(workspace.input,
                             workspace.hidden[0].data() + i * pass_.layouts()[0].size(),
                             gradient + i * elements_);
    }
  }

  std::int64_t elements_;
  ResnetPass pass_;
  std::vector<Workspace> workspaces_;  // one for each thread
};

}  // namespace

std::unique_ptr<GradientEngine> make_resnet_engine(const EnergyConfig& config,
                                                   const StateShape& shape) {
  return std::make_unique<ResnetEngine>(config, shape);
}

}  // namespace stanley
