#include <ATen/ATen.h>

#include <algorithm>

#include "energy/blockwise_weight_gradient.hpp"
#include "energy/convnet_pass.hpp"
#include "energy/state_blocks.hpp"

namespace stanley {
namespace {

using Pass = ConvnetPass;

struct Workspace {
  Pass::Workspace pass;
  AlignedBuffer<std::byte> scratch;
};

class ConvnetWeightGradient : public BlockwiseWeightGradient<Workspace> {
 public:
  ConvnetWeightGradient(const EnergyConfig& config, const StateShape& shape)
      : BlockwiseWeightGradient(convnet_block),
        elements_(element_count(shape)),
        pass_(config, shape, true) {
    for (std::size_t level = 0; level < pass_.levels(); ++level) {
      filters_.push_back(make_filter_gradient(pass_.layers()[level + 1], pass_.layouts()[level],
                                              pass_.layouts()[level + 1],
                                              pass_.strided(level).group()));
    }
  }

  void load(const std::vector<at::Tensor>& weights) override {
    const FlatWeights flat(weights);
    weights_ = flat.tensors;
    pass_.load(flat.data);
  }

 private:
  Workspace make_workspace() const override {
    std::size_t scratch = 0;
    for (const auto& filter : filters_) scratch = std::max(scratch, filter->scratch_size());
    return {pass_.make_workspace(), AlignedBuffer<std::byte>(static_cast<std::int64_t>(scratch))};
  }

  /// Of the first layer's weight and bias, the strided layers, and the last one [height, width,
  /// channel].
  std::vector<std::int64_t> sum_sizes() const override {
    const ImageLayout &bottom = pass_.layouts().front(), &top = pass_.layouts().back();
    std::vector<std::int64_t> sizes{pass_.input().weight_size(), bottom.channels};
    for (const auto& filter : filters_) sizes.push_back(filter->sum_size());
    sizes.push_back(top.height * top.row_size());
    return sizes;
  }

  void add_block(Workspace& workspace, const WholeBlocks::Block& block,
                 GradientSums& sums) const override {
    pass_.forward(workspace.pass, convnet_block, block.state);
    for (std::int64_t i = 0; i < convnet_block; ++i) {
      block.energy[i] = pass_.energy(workspace.pass, i);
      const float factor = block.constant[i] + block.slope[i] * block.energy[i];
      pass_.start_backward(workspace.pass, i, factor, sums.last());
      sums.last_bias += static_cast<double>(factor);
    }
    pass_.backward(
        workspace.pass, convnet_block,
        [&](std::size_t level, const float* input, const float* output) {
          filters_[level]->add(input, output, sums.part(level + 2), workspace.scratch.data());
        },
        [&](std::int64_t i, const float* image) {
          pass_.input().add_weights(workspace.pass.input, block.state + i * elements_, image,
                                    sums.part(0), sums.part(1));
        });
  }

  std::vector<at::Tensor> finish(const GradientSums& sums) const override {
    FlatGradients result(weights_);
    const std::vector<float*>& data = result.data;
    pass_.input().store_weights(sums.part(0), sums.part(1), data[0], data[1]);
    for (std::size_t i = 0; i < filters_.size(); ++i) {
      filters_[i]->finish(sums.part(i + 2), data[2 * i + 2], data[2 * i + 3]);
    }
    const ImageLayout& top = pass_.layouts().back();
    const std::int64_t pixels = top.height * top.width,
                       channels = weights_[data.size() - 2].size(1);
    for (std::int64_t channel = 0; channel < channels; ++channel) {
      for (std::int64_t pixel = 0; pixel < pixels; ++pixel) {
        data[data.size() - 2][channel * pixels + pixel] =
            sums.last()[pixel * top.channels + channel];
      }
    }
    *data.back() = static_cast<float>(sums.last_bias);
    return result.tensors;
  }

  std::int64_t elements_;
  Pass pass_;
  std::vector<std::unique_ptr<FilterGradient>> filters_;  // of the strided layers
  std::vector<at::Tensor> weights_;                       // as they were loaded
};

}  // namespace

std::unique_ptr<WeightGradient> make_convnet_weight_gradient(const EnergyConfig& config,
                                                             const StateShape& shape) {
  return std::make_unique<ConvnetWeightGradient>(config, shape);
}

}  // namespace stanley
