#include <ATen/ATen.h>

#include <algorithm>

#include "engines/blockwise_weight_gradient.hpp"
#include "engines/computed_layer.hpp"
#include "engines/factory.hpp"
#include "engines/winograd/pass.hpp"

namespace stanley {
namespace {

struct Workspace {
  WinogradPass::Workspace pass;
  AlignedBuffer<std::byte> scratch;
};

class WinogradWeightGradient : public BlockwiseWeightGradient<Workspace> {
 public:
  explicit WinogradWeightGradient(const Plan& plan)
      : BlockwiseWeightGradient(winograd_block),
        elements_(element_count(plan.state_shape())),
        pass_(plan, true) {
    for (std::size_t i = 1; i < plan.layers.size(); ++i) {
      filters_.push_back(pass_.make_filter_gradient(i));
    }
  }

  void load(const std::vector<at::Tensor>& weights) override {
    weights_ = weights;
    pass_.load(weights);
  }

 private:
  Workspace make_workspace() const override {
    std::size_t scratch = 0;
    for (const auto& filter : filters_) scratch = std::max(scratch, filter->scratch_size());
    return {pass_.make_workspace(), AlignedBuffer<std::byte>(static_cast<std::int64_t>(scratch))};
  }

  /// Of the first layer's weight and bias; of each further layer and of its skip connection, where
  /// it has one; and of the last weight.
  std::vector<std::int64_t> sum_sizes() const override {
    std::vector<std::int64_t> sizes{pass_.input().weight_size(), pass_.input().bias_size()};
    for (std::size_t layer = 1; layer <= filters_.size(); ++layer) {
      sizes.push_back(filters_[layer - 1]->sum_size());
      sizes.push_back(pass_.skip(layer) ? pass_.skip(layer)->sum_size() : 0);
    }
    sizes.push_back(pass_.last_size());
    return sizes;
  }
  static std::size_t part_of(std::size_t layer) { return 2 * layer; }
  static std::size_t part_of_skip(std::size_t layer) { return 2 * layer + 1; }

  void add_block(Workspace& workspace, const WholeBlocks::Block& block,
                 GradientSums& sums) const override {
    pass_.forward(workspace.pass, winograd_block, block.state);
    for (std::int64_t i = 0; i < winograd_block; ++i) {
      block.energy[i] = pass_.energy(workspace.pass, i);
      const float factor = block.constant[i] + block.slope[i] * block.energy[i];
      pass_.start_backward(workspace.pass, i, factor, sums.parts.back().data());
      sums.last_bias += static_cast<double>(factor);
    }
    pass_.backward(workspace.pass, winograd_block,
                   {.state =
                        [&](std::int64_t i, const float* image) {
                          pass_.input().add_weights(workspace.pass.input,
                                                    block.state + i * elements_, image,
                                                    sums.parts[0].data(), sums.parts[1].data());
                        },
                    .group =
                        [&](std::size_t layer, const float* input, const float* output) {
                          filters_[layer - 1]->add(input, output, sums.parts[part_of(layer)].data(),
                                                   workspace.scratch.data());
                        },
                    .skip =
                        [&](std::size_t layer, const float* mean, const float* output) {
                          const WinogradSkip& skip = *pass_.skip(layer);
                          if (skip.sum_size() > 0)
                            skip.add_weight(mean, output, sums.parts[part_of_skip(layer)].data());
                        }});
  }

  std::vector<at::Tensor> finish(const GradientSums& sums) const override {
    std::vector<at::Tensor> result;
    for (const at::Tensor& weight : weights_) result.push_back(at::empty(weight.sizes()));
    const auto data = [&](std::size_t i) { return result[i].mutable_data_ptr<float>(); };
    pass_.input().store_weights(sums.parts[0].data(), sums.parts[1].data(), data(0), data(1));
    const Plan& plan = pass_.plan();
    for (std::size_t i = 1; i < plan.layers.size(); ++i) {
      const Layer& layer = plan.layers[i];
      const ConvolutionShape shape = computed_shape(layer);
      const at::Tensor weight =
          at::empty({shape.filters, shape.channels, shape.kernel, shape.kernel});
      filters_[i - 1]->finish(sums.parts[part_of(i)].data(), weight.mutable_data_ptr<float>(),
                              data(layer.weight + 1));
      result[layer.weight] = gradient_as_network(layer, weight);
      if (layer.skip && layer.skip->convolves()) {
        pass_.skip(i)->finish(sums.parts[part_of_skip(i)].data(), result[layer.skip->weight]);
        result[layer.skip->weight + 1].copy_(result[layer.weight + 1]);
      }
    }
    pass_.store_last(sums.parts.back().data(), result[plan.last]);
    *data(plan.last + 1) = static_cast<float>(sums.last_bias);
    return result;
  }

  std::int64_t elements_;
  WinogradPass pass_;
  std::vector<std::unique_ptr<FilterGradient>> filters_;  // of all layers but the first
  std::vector<at::Tensor> weights_;                       // as they were loaded
};

}  // namespace

std::unique_ptr<WeightGradient> make_winograd_weight_gradient(const Plan& plan) {
  return std::make_unique<WinogradWeightGradient>(plan);
}

}  // namespace stanley
