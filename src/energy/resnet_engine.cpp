#include <ATen/ATen.h>

#include <algorithm>

#include "energy/gradient_engine.hpp"
#include "energy/images.hpp"
#include "energy/input_convolution.hpp"
#include "energy/operation_times.hpp"
#include "energy/residual.hpp"
#include "energy/state_blocks.hpp"

namespace stanley {
namespace {

/// States of one pass through the network: enough rows for the matrix products of its small images.
constexpr std::int64_t block_size = 16;

/// What one thread needs; allocated once.
struct Workspace {
  InputConvolution::Workspace input;
  std::vector<AlignedBuffer<float>> hidden;  // before each residual and after the last, a block
  std::vector<Residual::Workspace> residual;
  AlignedBuffer<float> top_derivative, row;
  AlignedBuffer<std::byte> scratch;
};

/// Activations are stored channels last, one block of states behind the other.
class ResnetEngine : public GradientEngine {
 public:
  ResnetEngine(const EnergyConfig& config, const StateShape& shape)
      : config_(config),
        shape_(shape),
        layouts_(make_layouts(resnet_blocks(config, shape))),
        input_(shape, config.channels, layouts_[0]) {
    const std::vector<ResidualBlock> blocks = resnet_blocks(config, shape);
    for (std::size_t i = 0; i < blocks.size(); ++i) {
      residuals_.emplace_back(blocks[i], layouts_[i], layouts_[i + 1], block_size);
    }
    features_ = blocks.back().out;
  }

  void load(const std::vector<at::Tensor>& weights) override {
    const FlatWeights flat(weights);
    input_.load(flat.data[0], flat.data[1]);
    const float* const* next = flat.data.data() + 2;
    for (Residual& residual : residuals_) next = residual.load(next);
    output_weight_ = AlignedBuffer<float>(layouts_.back().channels);
    std::copy_n(next[0], features_, output_weight_.data());
    output_bias_ = *next[1];
  }

  void evaluate(const at::Tensor& state, at::Tensor& energy, at::Tensor& gradient) override {
    evaluate_in_blocks(
        block_size, state, energy, gradient, workspaces_, [&] { return make_workspace(); },
        [&](Workspace& workspace, std::int64_t count, const float* states, float* energies,
            float* gradients) { evaluate_block(workspace, count, states, energies, gradients); });
  }

  bool batch_invariant() const override { return true; }

  std::string description() const override { return "Winograd float32"; }

 private:
  /// Of the images before each block and after the last.
  static std::vector<ImageLayout> make_layouts(const std::vector<ResidualBlock>& blocks) {
    std::vector<ImageLayout> layouts;
    for (std::size_t i = 0; i <= blocks.size(); ++i) {
      ConvolutionLayer writer{}, reader{};
      if (i > 0) writer = Residual::second_layer(blocks[i - 1]);
      if (i < blocks.size()) reader = Residual::first_layer(blocks[i]);
      layouts.push_back(
          winograd_layout(i > 0 ? &writer : nullptr, i < blocks.size() ? &reader : nullptr));
    }
    return layouts;
  }

  Workspace make_workspace() const {
    Workspace workspace;
    workspace.input = input_.make_workspace();
    for (const ImageLayout& layout : layouts_) {
      workspace.hidden.emplace_back(layout.size() * block_size);
    }
    std::int64_t row = 0;
    std::size_t scratch = 0;
    for (const Residual& residual : residuals_) {
      workspace.residual.push_back(residual.make_workspace());
      row = std::max(row, residual.row_size());
      scratch = std::max(scratch, residual.scratch_size());
    }
    workspace.top_derivative = AlignedBuffer<float>(layouts_.back().size() * block_size);
    workspace.row = AlignedBuffer<float>(row);
    workspace.scratch = AlignedBuffer<std::byte>(static_cast<std::int64_t>(scratch));
    return workspace;
  }

  /// The first `count` (at most block_size) states; where a group of images is not full, the rest
  /// is computed from what the buffers hold, and dropped.
  void evaluate_block(Workspace& workspace, std::int64_t count, const float* state, float* energy,
                      float* gradient) {
    const Residual::Scratch scratch{workspace.row.data(), workspace.scratch.data()};
    const std::int64_t elements = element_count(shape_), size = layouts_[0].size();
    float* bottom = workspace.hidden[0].data();
    for (std::int64_t i = 0; i < count; ++i) {
      input_.forward(workspace.input, state + i * elements, bottom + i * size);
    }
    for (std::size_t i = 0; i < residuals_.size(); ++i) {
      residuals_[i].forward(workspace.residual[i], config_, count, workspace.hidden[i].data(),
                            workspace.hidden[i + 1].data(), scratch);
    }
    activate_images(config_, layouts_.back(), count, workspace.hidden.back().data(),
                    workspace.top_derivative.data());
    for (std::int64_t i = 0; i < count; ++i) energy[i] = output_layer(workspace, i);
    for (std::size_t i = residuals_.size(); i-- > 0;) {
      residuals_[i].backward(workspace.residual[i], count, workspace.hidden[i + 1].data(),
                             workspace.hidden[i].data(), scratch);
    }
    for (std::int64_t i = 0; i < count; ++i) {
      input_.backward(workspace.input, bottom + i * size, gradient + i * elements);
    }
  }

  /// Energy of image i, and its gradient in the top image.
  float output_layer(Workspace& workspace, std::int64_t i) const {
    const Timed timed(Operation::output);
    const ImageLayout& top = layouts_.back();
    const float* weight = output_weight_.data();
    float energy = output_bias_;
    for (std::int64_t y = 0; y < top.height; ++y) {
      for (std::int64_t x = 0; x < top.width; ++x) {
        const std::int64_t pixel = i * top.size() + top.row(y) + x * top.channels;
        float* value = workspace.hidden.back().data() + pixel;
        energy += dot(top.channels, value, weight);
        multiply(top.channels, weight, workspace.top_derivative.data() + pixel, value);
      }
    }
    return energy;
  }

  EnergyConfig config_;
  StateShape shape_;
  std::vector<ImageLayout> layouts_;  // of the images before each residual and after the last
  InputConvolution input_;
  std::vector<Residual> residuals_;
  std::vector<Workspace> workspaces_;  // one for each thread
  std::int64_t features_ = 0;          // channels of the top image
  AlignedBuffer<float> output_weight_;
  float output_bias_ = 0;
};

}  // namespace

std::unique_ptr<GradientEngine> make_resnet_engine(const EnergyConfig& config,
                                                   const StateShape& shape) {
  return std::make_unique<ResnetEngine>(config, shape);
}

}  // namespace stanley
