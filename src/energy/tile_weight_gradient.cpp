#include <ATen/ATen.h>

#include <algorithm>
#include <array>

#include "energy/convnet_tile_pass.hpp"
#include "energy/resnet_tile_pass.hpp"
#include "energy/state_blocks.hpp"
#include "energy/tile_filter_gradient.hpp"
#include "energy/weight_gradient.hpp"

namespace stanley {
namespace {

/// Sums over states, one for each layer.
struct Sums {
  std::vector<TileFilterGradient::Sums> layers;
  AlignedBuffer<float> last;  // [weight, image]
  double last_bias = 0;
};

template <typename Pass>
struct Workspace {
  typename Pass::Workspace pass;
  std::vector<TileFilterGradient::Workspace> layers;
};

template <typename Pass>
class TileWeightGradient : public WeightGradient {
 public:
  TileWeightGradient(const EnergyConfig& config, const StateShape& shape)
      : elements_(element_count(shape)), pass_(config, shape, true) {
    for (const ConvolutionShape& layer : pass_.layers()) layers_.emplace_back(layer);
  }

  void load(const std::vector<at::Tensor>& weights) override {
    weights_ = weights;
    pass_.load(weights);
  }

  std::vector<at::Tensor> evaluate(const at::Tensor& state, const at::Tensor& constant,
                                   const at::Tensor& slope, at::Tensor& energy) override {
    const at::Tensor states = state.contiguous(), constants = constant.contiguous(),
                     slopes = slope.contiguous();
    const std::int64_t count = states.size(0), blocks = (count + tile_images - 1) / tile_images;
    return finish(sum_over_blocks(
        blocks, workspaces_, [&] { return make_workspace(); }, [&] { return make_sums(); },
        [&](Workspace<Pass>& workspace, std::int64_t block, Sums& sums) {
          const std::int64_t first = block * tile_images;
          add_block(workspace, std::min(tile_images, count - first),
                    states.const_data_ptr<float>() + first * elements_,
                    constants.const_data_ptr<float>() + first,
                    slopes.const_data_ptr<float>() + first,
                    energy.mutable_data_ptr<float>() + first, sums);
        },
        [&](const Sums& from, Sums& to) { add_sums(from, to); }));
  }

 private:
  Workspace<Pass> make_workspace() const {
    Workspace<Pass> workspace{pass_.make_workspace(), {}};
    for (const auto& layer : layers_) workspace.layers.push_back(layer.make_workspace());
    return workspace;
  }

  Sums make_sums() const {
    Sums sums;
    for (const auto& layer : layers_) sums.layers.push_back(layer.make_sums());
    sums.last = AlignedBuffer<float>(pass_.last_size() * tile_images);
    return sums;
  }

  void add_sums(const Sums& from, Sums& to) const {
    for (std::size_t i = 0; i < layers_.size(); ++i) {
      layers_[i].add(from.layers[i], to.layers[i]);
    }
    add(pass_.last_size() * tile_images, from.last.data(), to.last.data());
    to.last_bias += from.last_bias;
  }

  void add_block(Workspace<Pass>& workspace, std::int64_t count, const float* state,
                 const float* constant, const float* slope, float* energy, Sums& sums) const {
    const Tiles tiles(processor_has_tiles());
    pass_.forward(tiles, workspace.pass, count, state);
    std::array<float, tile_images> factor{};
    for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i) {
      energy[i] = workspace.pass.energies[i];
      factor[i] = constant[i] + slope[i] * energy[i];
      sums.last_bias += static_cast<double>(factor[i]);
    }
    pass_.backward_to_weights(
        tiles, workspace.pass, factor.data(), sums.last.data(),
        [&](std::size_t layer, const TileRows& input, const TileRows& gradient) {
          layers_[layer].add(tiles, input, gradient, workspace.layers[layer], sums.layers[layer]);
        });
  }

  /// To the shapes of the network's weights.
  std::vector<at::Tensor> finish(const Sums& sums) const {
    std::vector<TileLayerWeights> layers;
    for (std::size_t i = 0; i < layers_.size(); ++i) {
      layers.push_back({layers_[i].weight(sums.layers[i]), layers_[i].bias(sums.layers[i])});
    }
    std::vector<at::Tensor> result =
        pass_.as_network(std::move(layers), sum_of_images(sums.last.data(), pass_.last_size()),
                         at::full({1}, sums.last_bias, at::kFloat));
    for (std::size_t i = 0; i < result.size(); ++i) {
      for (std::int64_t k = 0; k < weights_[i].dim(); ++k) {
        result[i] = result[i].narrow(k, 0, weights_[i].size(k));
      }
      result[i] = result[i].contiguous();
    }
    return result;
  }

  std::int64_t elements_;
  Pass pass_;
  std::vector<TileFilterGradient> layers_;   // all but the last one
  std::vector<at::Tensor> weights_;          // as they were loaded
  std::vector<Workspace<Pass>> workspaces_;  // one for each thread
};

}  // namespace

std::unique_ptr<WeightGradient> make_tile_weight_gradient(const EnergyConfig& config,
                                                          const StateShape& shape) {
  if (config.type == EnergyType::convnet) {
    return std::make_unique<TileWeightGradient<ConvnetTilePass>>(config, shape);
  }
  return std::make_unique<TileWeightGradient<ResnetTilePass>>(config, shape);
}

}  // namespace stanley
