#pragma once

#include <vector>

#include "energy/input_convolution.hpp"
#include "energy/residual.hpp"

namespace stanley {

/// States of one pass through the network: enough rows for the matrix products of its small images.
constexpr std::int64_t resnet_block = 16;

/// One forward and one backward pass of the resnet in float32 for a block of states: what its
/// engines share. Activations are stored channels last, one state behind the other. Gradients take
/// the place of what they are gradients of.
class ResnetPass {
 public:
  /// What one thread needs; allocated once.
  struct Workspace {
    InputConvolution::Workspace input;
    std::vector<AlignedBuffer<float>> hidden;  // before each residual and after the last, a block
    std::vector<Residual::Workspace> residual;
    AlignedBuffer<float> top_derivative, row;
    AlignedBuffer<std::byte> scratch;
  };

  /// `least_rows`: of the matrix products (energy/convolution.hpp).
  ResnetPass(const EnergyConfig& config, const StateShape& shape, std::int64_t least_rows);

  /// The network's weights and biases in order.
  void load(const std::vector<const float*>& weights);

  const InputConvolution& input() const { return input_; }
  const std::vector<Residual>& residuals() const { return residuals_; }
  /// Of the images before each residual and after the last.
  const std::vector<ImageLayout>& layouts() const { return layouts_; }

  Workspace make_workspace() const;

  /// Of the first `count` states, at most a block.
  void forward(Workspace& workspace, std::int64_t count, const float* state) const;

  /// The energy of state i, after forward().
  float energy(const Workspace& workspace, std::int64_t i) const;

  /// Replaces the top image of state i by the gradient of `factor` times its energy, whose gradient
  /// with respect to the last layer's weight it adds to `last_weight` [channel], unless that is
  /// null.
  void start_backward(Workspace& workspace, std::int64_t i, float factor, float* last_weight) const;

  /// From start_backward() of all states down. Calls residual(i, out) before each residual's way
  /// back, with the gradients of what it makes, which then calls layer(i, second, input, output)
  /// for each group of its two convolutions, with the input and the gradient of the output. What is
  /// left in hidden[0] are the gradients of the first convolution's outputs.
  template <typename Each, typename Layer>
  void backward(Workspace& workspace, std::int64_t count, const Each& residual,
                const Layer& layer) const {
    for (std::size_t i = residuals_.size(); i-- > 0;) {
      const float* out = workspace.hidden[i + 1].data();
      residual(i, out);
      residuals_[i].backward(workspace.residual[i], count, out, workspace.hidden[i].data(),
                             {workspace.row.data(), workspace.scratch.data()},
                             [&](bool second, const float* input, const float* output) {
                               layer(i, second, input, output);
                             });
    }
  }

 private:
  EnergyConfig config_;
  StateShape shape_;
  std::vector<ImageLayout> layouts_;
  InputConvolution input_;
  std::vector<Residual> residuals_;
  AlignedBuffer<float> last_weight_;  // [channel]
  float last_bias_ = 0;
};

}  // namespace stanley
