#pragma once

#include <memory>

#include "energy/network.hpp"

namespace stanley {

/// A multilayer perceptron over the flattened state: hidden layers of `energy.hidden` widths.
std::unique_ptr<Network> make_mlp(const EnergyConfig& config, const StateShape& shape,
                                  std::uint32_t seed);

/// The convolutional network that convnet_layers() describes.
std::unique_ptr<Network> make_convnet(const EnergyConfig& config, const StateShape& shape,
                                      std::uint32_t seed);

/// Residual blocks as in Du and Mordatch (arXiv 1903.08689): a 3×3 convolution, three levels of
/// `energy.blocks` blocks (two 3×3 convolutions and a skip connection), the first of each level
/// doubling the channels and halving the image, then a sum over positions and one linear layer.
std::unique_ptr<Network> make_resnet(const EnergyConfig& config, const StateShape& shape,
                                     std::uint32_t seed);

/// The activation that the configuration names.
at::Tensor activate(const EnergyConfig& config, const at::Tensor& input);

}  // namespace stanley
