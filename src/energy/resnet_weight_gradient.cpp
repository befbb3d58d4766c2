#include <ATen/ATen.h>

#include <algorithm>

#include "energy/blockwise_weight_gradient.hpp"
#include "energy/resnet_pass.hpp"
#include "energy/state_blocks.hpp"

namespace stanley {
namespace {

struct Workspace {
  ResnetPass::Workspace pass;
  AlignedBuffer<std::byte> scratch;
};

class ResnetWeightGradient : public BlockwiseWeightGradient<Workspace> {
 public:
  ResnetWeightGradient(const EnergyConfig& config, const StateShape& shape)
      : BlockwiseWeightGradient(resnet_block),
        elements_(element_count(shape)),
        pass_(config, shape, rows_for_weights) {
    for (const Residual& residual : pass_.residuals()) {
      filters_.push_back(residual.make_filter_gradients());
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
    for (const auto& [first, second] : filters_) {
      scratch = std::max({scratch, first->scratch_size(), second->scratch_size()});
    }
    return {pass_.make_workspace(), AlignedBuffer<std::byte>(static_cast<std::int64_t>(scratch))};
  }

  /// Of the first layer's weight and bias, of each residual's convolutions and skip connection, and
  /// of the last layer.
  std::vector<std::int64_t> sum_sizes() const override {
    std::vector<std::int64_t> sizes{pass_.input().weight_size(), pass_.layouts().front().channels};
    for (std::size_t i = 0; i < filters_.size(); ++i) {
      sizes.insert(sizes.end(), {filters_[i].first->sum_size(), filters_[i].second->sum_size(),
                                 pass_.residuals()[i].skip_sum_size()});
    }
    sizes.push_back(pass_.layouts().back().channels);
    return sizes;
  }
  /// Where the parts of residual i begin.
  static std::size_t parts_of(std::size_t i) { return 2 + 3 * i; }

  void add_block(Workspace& workspace, const WholeBlocks::Block& block,
                 GradientSums& sums) const override {
    pass_.forward(workspace.pass, resnet_block, block.state);
    for (std::int64_t i = 0; i < resnet_block; ++i) {
      block.energy[i] = pass_.energy(workspace.pass, i);
      const float factor = block.constant[i] + block.slope[i] * block.energy[i];
      pass_.start_backward(workspace.pass, i, factor, sums.last());
      sums.last_bias += static_cast<double>(factor);
    }
    pass_.backward(
        workspace.pass, resnet_block,
        [&](std::size_t i, const float* out) {
          pass_.residuals()[i].add_skip_weights(workspace.pass.residual[i], resnet_block, out,
                                                sums.part(parts_of(i) + 2));
        },
        [&](std::size_t i, bool second, const float* input, const float* output) {
          (second ? filters_[i].second : filters_[i].first)
              ->add(input, output, sums.part(parts_of(i) + (second ? 1 : 0)),
                    workspace.scratch.data());
        });
    for (std::int64_t i = 0; i < resnet_block; ++i) {
      pass_.input().add_weights(workspace.pass.input, block.state + i * elements_,
                                workspace.pass.hidden[0].data() + i * pass_.layouts()[0].size(),
                                sums.part(0), sums.part(1));
    }
  }

  std::vector<at::Tensor> finish(const GradientSums& sums) const override {
    FlatGradients result(weights_);
    const std::vector<float*>& data = result.data;
    pass_.input().store_weights(sums.part(0), sums.part(1), data[0], data[1]);
    std::size_t next = 2;
    for (std::size_t i = 0; i < filters_.size(); ++i) {
      const Residual& residual = pass_.residuals()[i];
      filters_[i].first->finish(sums.part(parts_of(i)), data[next], data[next + 1]);
      if (residual.shape().halves) {
        const at::Tensor whole = at::empty({residual.shape().out, residual.shape().out, 4, 4});
        filters_[i].second->finish(sums.part(parts_of(i) + 1), whole.mutable_data_ptr<float>(),
                                   data[next + 3]);
        result.tensors[next + 2].copy_(adjoint_of_mean(whole));
        residual.finish_skip(sums.part(parts_of(i) + 2), data[next + 4]);
        result.tensors[next + 5].copy_(result.tensors[next + 3]);
        next += 6;
      } else {
        filters_[i].second->finish(sums.part(parts_of(i) + 1), data[next + 2], data[next + 3]);
        next += 4;
      }
    }
    std::copy_n(sums.last(), result.tensors[next].numel(), data[next]);
    *data.back() = static_cast<float>(sums.last_bias);
    return result.tensors;
  }

  std::int64_t elements_;
  ResnetPass pass_;
  std::vector<Residual::FilterGradients> filters_;  // of the residual blocks
  std::vector<at::Tensor> weights_;                 // as they were loaded
};

}  // namespace

std::unique_ptr<WeightGradient> make_resnet_weight_gradient(const EnergyConfig& config,
                                                            const StateShape& shape) {
  return std::make_unique<ResnetWeightGradient>(config, shape);
}

}  // namespace stanley
