#include <ATen/ATen.h>

#include "energy/convnet_tile_pass.hpp"
#include "energy/gradient_engine.hpp"
#include "energy/resnet_tile_pass.hpp"
#include "energy/state_blocks.hpp"

namespace stanley {
namespace {

template <typename Pass>
class TileEngine : public GradientEngine {
 public:
  TileEngine(const EnergyConfig& config, const StateShape& shape) : pass_(config, shape, false) {}

  void load(const std::vector<at::Tensor>& weights) override { pass_.load(weights); }

  void evaluate(const at::Tensor& state, at::Tensor& energy, at::Tensor& gradient) override {
    evaluate_in_blocks(
        tile_images, state, energy, gradient, workspaces_, [&] { return pass_.make_workspace(); },
        [&](typename Pass::Workspace& workspace, std::int64_t count, const float* states,
            float* energies, float* gradients) {
          const Tiles tiles(processor_has_tiles());
          pass_.forward(tiles, workspace, count, states);
          std::copy_n(workspace.energies.begin(), count, energies);
          pass_.backward(tiles, workspace, gradients);
        });
  }

  bool batch_invariant() const override { return true; }

  std::string description() const override {
    return processor_has_tiles() ? "AMX tiles bfloat16" : "tiles by vectors bfloat16";
  }

 private:
  Pass pass_;
  std::vector<typename Pass::Workspace> workspaces_;  // one for each thread
};

}  // namespace

std::unique_ptr<GradientEngine> make_convnet_tile_engine(const EnergyConfig& config,
                                                         const StateShape& shape) {
  return std::make_unique<TileEngine<ConvnetTilePass>>(config, shape);
}

std::unique_ptr<GradientEngine> make_resnet_tile_engine(const EnergyConfig& config,
                                                        const StateShape& shape) {
  return std::make_unique<TileEngine<ResnetTilePass>>(config, shape);
}

}  // namespace stanley
