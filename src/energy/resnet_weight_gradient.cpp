#include <ATen/ATen.h>

#include <algorithm>

#include "energy/blockwise_weight_gradient.hpp"
#include "energy/resnet_pass.hpp"
#include "energy/state_blocks.hpp"

namespace stanley {
namespace {

/// Sums over states of one residual block, in the forms in which its layers add up.
struct ResidualSums {
  AlignedBuffer<float> first, second;
  at::Tensor skip;  // [in, out], where it halves
};

struct Sums {
  AlignedBuffer<float> input_weight, input_bias, last_weight;
  std::vector<ResidualSums> residuals;
  double last_bias = 0;
};

struct Workspace {
  ResnetPass::Workspace pass;
  AlignedBuffer<std::byte> scratch;
};

class ResnetWeightGradient : public BlockwiseWeightGradient<Workspace, Sums> {
 public:
  ResnetWeightGradient(const EnergyConfig& config, const StateShape& shape)
      : BlockwiseWeightGradient(resnet_block),
        elements_(element_count(shape)),
        pass_(config, shape) {
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

  Sums make_sums() const override {
    Sums sums;
    sums.input_weight = AlignedBuffer<float>(pass_.input().weight_size());
    sums.input_bias = AlignedBuffer<float>(pass_.layouts()[0].channels);
    sums.last_weight = AlignedBuffer<float>(pass_.layouts().back().channels);
    for (std::size_t i = 0; i < filters_.size(); ++i) {
      sums.residuals.push_back({AlignedBuffer<float>(filters_[i].first->sum_size()),
                                AlignedBuffer<float>(filters_[i].second->sum_size()),
                                pass_.residuals()[i].make_skip_sum()});
    }
    return sums;
  }

  void clear(Sums& sums) const override {
    for (auto* sum : {&sums.input_weight, &sums.input_bias, &sums.last_weight}) sum->clear();
    for (ResidualSums& residual : sums.residuals) {
      residual.first.clear();
      residual.second.clear();
      residual.skip.zero_();
    }
    sums.last_bias = 0;
  }

  void add_sums(const Sums& from, Sums& to) const override {
    add(pass_.input().weight_size(), from.input_weight.data(), to.input_weight.data());
    add(pass_.layouts()[0].channels, from.input_bias.data(), to.input_bias.data());
    add(pass_.layouts().back().channels, from.last_weight.data(), to.last_weight.data());
    for (std::size_t i = 0; i < filters_.size(); ++i) {
      const ResidualSums& source = from.residuals[i];
      ResidualSums& target = to.residuals[i];
      add(filters_[i].first->sum_size(), source.first.data(), target.first.data());
      add(filters_[i].second->sum_size(), source.second.data(), target.second.data());
      target.skip.add_(source.skip);
    }
    to.last_bias += from.last_bias;
  }

  void add_block(Workspace& workspace, const WholeBlocks::Block& block, Sums& sums) const override {
    pass_.forward(workspace.pass, resnet_block, block.state);
    for (std::int64_t i = 0; i < resnet_block; ++i) {
      block.energy[i] = pass_.energy(workspace.pass, i);
      const float factor = block.constant[i] + block.slope[i] * block.energy[i];
      pass_.start_backward(workspace.pass, i, factor, sums.last_weight.data());
      sums.last_bias += static_cast<double>(factor);
    }
    pass_.backward(
        workspace.pass, resnet_block,
        [&](std::size_t i, const float* out) {
          pass_.residuals()[i].add_skip_weights(workspace.pass.residual[i], resnet_block, out,
                                                sums.residuals[i].skip);
        },
        [&](std::size_t i, bool second, const float* input, const float* output) {
          ResidualSums& residual = sums.residuals[i];
          (second ? filters_[i].second : filters_[i].first)
              ->add(input, output, (second ? residual.second : residual.first).data(),
                    workspace.scratch.data());
        });
    for (std::int64_t i = 0; i < resnet_block; ++i) {
      pass_.input().add_weights(workspace.pass.input, block.state + i * elements_,
                                workspace.pass.hidden[0].data() + i * pass_.layouts()[0].size(),
                                sums.input_weight.data(), sums.input_bias.data());
    }
  }

  std::vector<at::Tensor> finish(const Sums& sums) const override {
    std::vector<at::Tensor> result;
    const auto next = [&] { return at::empty_like(weights_[result.size()]); };
    const auto data = [](const at::Tensor& tensor) { return tensor.mutable_data_ptr<float>(); };
    const auto append = [&](const at::Tensor& weight, const at::Tensor& bias) {
      result.insert(result.end(), {weight, bias});
    };
    at::Tensor weight = next(), bias = at::empty_like(weights_[1]);
    pass_.input().store_weights(sums.input_weight.data(), sums.input_bias.data(), data(weight),
                                data(bias));
    append(weight, bias);
    for (std::size_t i = 0; i < filters_.size(); ++i) {
      const bool halves = pass_.residuals()[i].shape().halves;
      weight = next(), bias = at::empty_like(weights_[result.size() + 1]);
      filters_[i].first->finish(sums.residuals[i].first.data(), data(weight), data(bias));
      append(weight, bias);
      const at::IntArrayRef sizes = weights_[result.size()].sizes();
      weight = at::empty({sizes[0], sizes[1], halves ? 4 : 3, halves ? 4 : 3});
      bias = at::empty_like(bias);
      filters_[i].second->finish(sums.residuals[i].second.data(), data(weight), data(bias));
      append(halves ? adjoint_of_mean(weight) : weight, bias);
      if (!halves) continue;
      const at::Tensor& skip = weights_[result.size()];  // [out, in, 1, 1]
      append(sums.residuals[i]
                 .skip.t()
                 .narrow(0, 0, skip.size(0))
                 .narrow(1, 0, skip.size(1))
                 .reshape(skip.sizes()),
             bias.clone());
    }
    weight = next();
    std::copy_n(sums.last_weight.data(), weight.numel(), data(weight));
    append(weight, at::full({1}, sums.last_bias, at::kFloat));
    return result;
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
