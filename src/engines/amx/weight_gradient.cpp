#include <ATen/ATen.h>

#include <array>

#include "engines/amx/filter_gradient.hpp"
#include "engines/amx/pass.hpp"
#include "engines/blockwise_weight_gradient.hpp"
#include "engines/factory.hpp"

namespace stanley {
namespace {

struct Workspace {
  AmxPass::Scratch scratch;
  AmxPass::Workspace pass;
  std::vector<AmxFilterGradient::Workspace> layers;
};

class AmxWeightGradient : public BlockwiseWeightGradient<Workspace> {
 public:
  explicit AmxWeightGradient(const Plan& plan)
      : BlockwiseWeightGradient<Workspace>(tile_images), pass_(plan, true) {
    for (const ConvolutionShape& layer : pass_.layers()) layers_.emplace_back(layer);
  }

  void load(const std::vector<at::Tensor>& weights) override {
    weights_ = weights;
    pass_.load(weights);
  }

 private:
  Workspace make_workspace() const override {
    Workspace workspace{pass_.make_scratch(), pass_.make_workspace(false), {}};
    for (const auto& layer : layers_) workspace.layers.push_back(layer.make_workspace());
    return workspace;
  }

  std::vector<std::int64_t> sum_sizes() const override {
    std::vector<std::int64_t> sizes;
    for (const auto& layer : layers_) sizes.push_back(layer.sum_size());
    sizes.push_back(pass_.last_size() * tile_images);
    return sizes;
  }

  void add_block(Workspace& workspace, const WholeBlocks::Block& block,
                 GradientSums& sums) const override {
    const AmxTiles tiles;
    std::array<float, tile_images> factor;
    const AmxPass::Task task{tiles, {}, workspace.scratch, workspace.pass, factor.data()};
    pass_.forward(task, tile_images, block.state);
    for (std::size_t i = 0; i < factor.size(); ++i) {
      block.energy[i] = workspace.pass.energies[i];
      factor[i] = block.constant[i] + block.slope[i] * block.energy[i];
      sums.last_bias += static_cast<double>(factor[i]);
    }
    pass_.backward_to_weights(
        task, sums.parts.back().data(),
        [&](std::size_t layer, const PixelRows& input, const PixelRows& gradient) {
          layers_[layer].add(tiles, input, gradient, workspace.layers[layer],
                             sums.parts[layer].data());
        });
  }

  std::vector<at::Tensor> finish(const GradientSums& sums) const override {
    std::vector<AmxLayerWeights> layers;
    for (std::size_t i = 0; i < layers_.size(); ++i) {
      const float* const sum = sums.parts[i].data();
      layers.push_back({layers_[i].weight(sum), layers_[i].bias(sum)});
    }
    std::vector<at::Tensor> result =
        pass_.as_network(layers, sum_of_images(sums.parts.back().data(), pass_.last_size()),
                         at::full({1}, sums.last_bias, at::kFloat));
    for (std::size_t i = 0; i < result.size(); ++i) {
      for (std::int64_t k = 0; k < weights_[i].dim(); ++k) {
        result[i] = result[i].narrow(k, 0, weights_[i].size(k));
      }
      result[i] = result[i].clone(at::MemoryFormat::Contiguous);
    }
    return result;
  }

  AmxPass pass_;
  std::vector<AmxFilterGradient> layers_;  // all but the last one
  std::vector<at::Tensor> weights_;        // as they were loaded
};

}  // namespace

std::unique_ptr<WeightGradient> make_amx_weight_gradient(const Plan& plan) {
  return std::make_unique<AmxWeightGradient>(plan);
}

}  // namespace stanley
