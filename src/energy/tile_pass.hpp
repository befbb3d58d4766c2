#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <vector>

#include "energy/plan.hpp"
#include "energy/share.hpp"
#include "energy/tile_convolution.hpp"
#include "energy/tile_input.hpp"

namespace stanley {

/// Called for a layer with the images that it takes and the gradients of those that it makes: whole
/// ones.
using VisitTileLayer =
    std::function<void(std::size_t layer, const TileRows& input, const TileRows& gradient)>;

/// The gradients of a layer's weight [filters, channels, kernel, kernel] and bias [filters], filled
/// up to whole tiles.
struct TileLayerWeights {
  at::Tensor weight, bias;
};

/// What the passes of the convnet and of the resnet by tile products share.
class TilePass {
 public:
  /// What one thread needs; allocated once.
  struct Scratch {
    TileInput::Workspace input;
    AlignedBuffer<float> sums;
  };
  Scratch make_scratch() const {
    return {input_.make_workspace(), AlignedBuffer<float>(span_sums)};
  }

  /// Of all but the last layer, each with its skip connection's convolution behind it, if it has
  /// one; the first one is of the input's taps.
  std::vector<ConvolutionShape> layers() const;
  /// Elements of the last weight, [pixel, channel] or [channel].
  std::int64_t last_size() const;
  /// The gradients of layers() and of the last one [last_size()] in the order of the network's
  /// weights, filled up.
  std::vector<at::Tensor> as_network(const std::vector<TileLayerWeights>& layers,
                                     const at::Tensor& last, const at::Tensor& last_bias) const;

 protected:
  /// `keeps_images`: for gradients of weights.
  TilePass(const Plan& plan, bool keeps_images);

  void load_input_and_last(const std::vector<at::Tensor>& weights);

  Plan plan_;
  TileInput input_;
  AlignedBuffer<float> last_weight_;  // [last_size()]
  float last_bias_ = 0;
};

}  // namespace stanley
