#include <ATen/ATen.h>

#include "energy/convnet_pass.hpp"
#include "energy/gradient_engine.hpp"
#include "energy/state_blocks.hpp"

namespace stanley {
namespace {

class ConvnetEngine : public GradientEngine {
 public:
  ConvnetEngine(const EnergyConfig& config, const StateShape& shape)
      : elements_(element_count(shape)), pass_(config, shape, false) {}

  void load(const std::vector<at::Tensor>& weights) override {
    pass_.load(FlatWeights(weights).data);
  }

  void evaluate(const at::Tensor& state, at::Tensor& energy, at::Tensor& gradient) override {
    evaluate_in_blocks(
        convnet_block, {state, energy, gradient}, workspaces_,
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
  using Workspace = ConvnetPass::Workspace;

  /// Of the first `count` states, at most convnet_block.
  void evaluate_block(Workspace& workspace, std::int64_t count, const float* state, float* energy,
                      float* gradient) const {
    pass_.forward(workspace, count, state);
    for (std::int64_t i = 0; i < count; ++i) {
      energy[i] = pass_.energy(workspace, i);
      pass_.start_backward(workspace, i);
    }
    pass_.backward(
        workspace, count, [](std::size_t, const float*, const float*) {},
        [&](std::int64_t i, const float* image) {
          pass_.input().backward(workspace.input, image, gradient + i * elements_);
        });
  }

  std::int64_t elements_;
  ConvnetPass pass_;
  std::vector<Workspace> workspaces_;  // one for each thread
};

}  // namespace

std::unique_ptr<GradientEngine> make_convnet_engine(const EnergyConfig& config,
                                                    const StateShape& shape) {
  return std::make_unique<ConvnetEngine>(config, shape);
}

}  // namespace stanley
