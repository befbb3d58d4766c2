#include <ATen/ATen.h>

#include "energy/convnet_pass.hpp"
#include "energy/state_blocks.hpp"
#include "energy/weight_gradient.hpp"

namespace stanley {
namespace {

using Pass = ConvnetPass;

/// Sums over states, one for each layer, in the form in which the layer adds up.
struct Sums {
  AlignedBuffer<float> input_weight, input_bias;
  std::vector<AlignedBuffer<float>> strided;
  AlignedBuffer<float> last_weight;
  double last_bias = 0;
};

class ConvnetWeightGradient : public WeightGradient {
 public:
  ConvnetWeightGradient(const EnergyConfig& config, const StateShape& shape)
      : elements_(element_count(shape)), pass_(config, shape, true) {
    for (std::size_t level = 0; level < pass_.levels(); ++level) {
      filters_.push_back(
          make_winograd_filter_gradient(pass_.layers()[level + 1], pass_.layouts()[level],
                                        pass_.layouts()[level + 1], pass_.strided(level).group()));
    }
  }

  void load(const std::vector<at::Tensor>& weights) override {
    const FlatWeights flat(weights);
    weights_ = flat.tensors;
    pass_.load(flat.data);
  }

  std::vector<at::Tensor> evaluate(const at::Tensor& state, const at::Tensor& constant,
                                   const at::Tensor& slope, at::Tensor& energy) override {
    const std::int64_t blocks = (state.size(0) + convnet_block - 1) / convnet_block;
    const at::Tensor states = whole_blocks(state), constants = whole_blocks(constant, 0),
                     slopes = whole_blocks(slope, 0);
    at::Tensor energies = at::empty({blocks * convnet_block});
    const Sums sums = sum_over_blocks(
        blocks, workspaces_, [&] { return make_workspace(); }, [&] { return make_sums(); },
        [&](Workspace& workspace, std::int64_t block, Sums& sum) {
          const std::int64_t first = block * convnet_block;
          add_block(workspace, states.const_data_ptr<float>() + first * elements_,
                    constants.const_data_ptr<float>() + first,
                    slopes.const_data_ptr<float>() + first,
                    energies.mutable_data_ptr<float>() + first, sum);
        },
        [&](const Sums& from, Sums& to) { add_sums(from, to); });
    energy.copy_(energies.narrow(0, 0, state.size(0)));
    return finish(sums);
  }

 private:
  struct Workspace {
    Pass::Workspace pass;
    AlignedBuffer<std::byte> scratch;
  };

  /// Rows up to a multiple of the block: copies of the last one, or of `value`.
  static at::Tensor whole_blocks(const at::Tensor& rows, std::optional<double> value = {}) {
    const std::int64_t count = rows.size(0),
                       missing = (-count % convnet_block + convnet_block) % convnet_block;
    if (missing == 0) return rows.contiguous();
    std::vector<std::int64_t> shape = rows.sizes().vec();
    shape[0] = missing;
    return at::cat({rows, value ? at::full(shape, *value, rows.options())
                                : rows.narrow(0, count - 1, 1).expand(shape)});
  }

  Workspace make_workspace() const {
    std::size_t scratch = 0;
    for (const auto& filter : filters_) scratch = std::max(scratch, filter->scratch_size());
    return {pass_.make_workspace(), AlignedBuffer<std::byte>(static_cast<std::int64_t>(scratch))};
  }

  Sums make_sums() const {
    Sums sums;
    sums.input_weight = AlignedBuffer<float>(pass_.input().weight_size());
    sums.input_bias = AlignedBuffer<float>(pass_.layouts()[0].channels);
    for (const auto& filter : filters_) sums.strided.emplace_back(filter->sum_size());
    sums.last_weight = AlignedBuffer<float>(last_size());
    return sums;
  }

  void add_sums(const Sums& from, Sums& to) const {
    add(pass_.input().weight_size(), from.input_weight.data(), to.input_weight.data());
    add(pass_.layouts()[0].channels, from.input_bias.data(), to.input_bias.data());
    for (std::size_t i = 0; i < filters_.size(); ++i) {
      add(filters_[i]->sum_size(), from.strided[i].data(), to.strided[i].data());
    }
    add(last_size(), from.last_weight.data(), to.last_weight.data());
    to.last_bias += from.last_bias;
  }

  std::int64_t last_size() const {
    return pass_.layouts().back().height * pass_.layouts().back().row_size();
  }

  /// One whole block of states.
  void add_block(Workspace& workspace, const float* state, const float* constant,
                 const float* slope, float* energy, Sums& sums) const {
    pass_.forward(workspace.pass, convnet_block, state);
    for (std::int64_t i = 0; i < convnet_block; ++i) {
      energy[i] = pass_.energy(workspace.pass, i);
      const float factor = constant[i] + slope[i] * energy[i];
      pass_.start_backward(workspace.pass, i, factor, sums.last_weight.data());
      sums.last_bias += static_cast<double>(factor);
    }
    pass_.backward(
        workspace.pass,
        [&](std::size_t level, const float* input, const float* output) {
          filters_[level]->add(input, output, sums.strided[level].data(), workspace.scratch.data());
        },
        [&](std::int64_t i, const float* image) {
          pass_.input().add_weights(workspace.pass.input, state + i * elements_, image,
                                    sums.input_weight.data(), sums.input_bias.data());
        });
  }

  /// To the shapes of the network's weights.
  std::vector<at::Tensor> finish(const Sums& sums) const {
    std::vector<at::Tensor> result;
    std::vector<float*> data;
    for (const at::Tensor& weight : weights_) {
      result.push_back(at::empty_like(weight));
      data.push_back(result.back().mutable_data_ptr<float>());
    }
    pass_.input().store_weights(sums.input_weight.data(), sums.input_bias.data(), data[0], data[1]);
    for (std::size_t i = 0; i < filters_.size(); ++i) {
      filters_[i]->finish(sums.strided[i].data(), data[2 * i + 2], data[2 * i + 3]);
    }
    const ImageLayout& top = pass_.layouts().back();
    const std::int64_t pixels = top.height * top.width,
                       channels = weights_[data.size() - 2].size(1);
    for (std::int64_t channel = 0; channel < channels; ++channel) {
      for (std::int64_t pixel = 0; pixel < pixels; ++pixel) {
        data[data.size() - 2][channel * pixels + pixel] =
            sums.last_weight.data()[pixel * top.channels + channel];
      }
    }
    *data.back() = static_cast<float>(sums.last_bias);
    return result;
  }

  std::int64_t elements_;
  Pass pass_;
  std::vector<std::unique_ptr<FilterGradient>> filters_;  // of the strided layers
  std::vector<at::Tensor> weights_;                       // as they were loaded
  std::vector<Workspace> workspaces_;                     // one for each thread
};

}  // namespace

std::unique_ptr<WeightGradient> make_convnet_weight_gradient(const EnergyConfig& config,
                                                             const StateShape& shape) {
  return std::make_unique<ConvnetWeightGradient>(config, shape);
}

}  // namespace stanley
