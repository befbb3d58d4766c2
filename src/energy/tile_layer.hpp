#pragma once

#include <ATen/core/Tensor.h>

#include <functional>

#include "energy/network.hpp"
#include "energy/tile_convolution.hpp"

/// What the passes of the convnet and of the resnet by tile products share.
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

inline TileConvolution make_tile_convolution(const ConvolutionLayer& layer) {
  return TileConvolution({.height = layer.in_height,
                          .width = layer.in_width,
                          .channels = layer.in,
                          .filters = layer.out,
                          .kernel = layer.kernel_height,
                          .stride = layer.stride,
                          .padding = layer.padding});
}

}  // namespace stanley
