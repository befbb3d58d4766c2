#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "config/config.hpp"

namespace stanley {

/// The shape of one state without the batch: {channel, height, width} or {dimension}.
using StateShape = std::vector<std::int64_t>;

/// Number of elements of one state.
std::int64_t element_count(const StateShape& shape);

/// What is added to the images that a layer makes: those of an earlier layer, or a 1×1 convolution
/// of them.
struct SkipConnection {
  std::size_t from;    ///< the layer whose z is added
  std::string name{};  ///< of the 1×1 convolution's parameters; empty: there is none
  std::size_t weight{};

  bool convolves() const { return !name.empty(); }
};

/// One layer: z = convolution of f(z of the layer before it), or of the state, + bias + skip; and
/// of that, where it has `means`, the means over squares of 2×2 pixels. A skip connection has a
/// convolution where the layer has means.
struct Layer {
  std::string name;                      ///< of its parameters: "levels.0.0.first"
  std::int64_t height, width, channels;  ///< of the images that it reads
  /// Of its weight [filters, channels, kernel, kernel], and of zeros around the images.
  std::int64_t filters, kernel, stride, padding;
  std::size_t weight;  ///< its place in Network::weights(); the bias stands behind it
  bool means = false;
  std::optional<SkipConnection> skip{};

  /// What the convolution makes of `extent` rows or columns, and what is left of them after means.
  std::int64_t convolved(std::int64_t extent) const {
    return (extent + 2 * padding - kernel) / stride + 1;
  }
  std::int64_t output_height() const { return convolved(height) / (means ? 2 : 1); }
  std::int64_t output_width() const { return convolved(width) / (means ? 2 : 1); }
};

/// What a network of images computes: its layers one after the other, f of the last one's z, and of
/// that one linear layer. The one place that knows its shape. The first layer is of 3×3, stride 1
/// and padding 1 without means, the others compute that or 4×4, stride 2 and padding 1. At most one
/// skip connection reads a layer, and where there are any, each second layer from the third on has
/// one that starts two layers before it.
struct Plan {
  Activation activation;  ///< f
  double slope;           ///< of the leaky ReLU
  std::vector<Layer> layers;
  std::string last_name;  ///< of the linear layer's parameters
  std::size_t last;       ///< their place: weight [1, filters, height, width], bias [1]
  bool sums;              ///< its weight is [1, filters], for the sum over all pixels
  /// First layers of the network of three levels that this one has not: its own keep their names,
  /// and the random numbers that they are initialised by.
  std::size_t left_out = 0;

  StateShape state_shape() const;
  /// The layer whose skip connection adds z of this one.
  std::optional<std::size_t> skip_reader(std::size_t layer) const;
  bool has_skips() const;
};

/// `energy.type: convnet` (Nijkamp et al., arXiv 1903.12370): 3×3 stride 1, then three of 4×4
/// stride 2 that double the channels, then one linear layer over all that is left. With
/// `energy.downsampling: means` those three are of 3×3 and stride 1 with means over 2×2 pixels:
/// strides let pixels of even and odd places meet other weights, which draws a grid into ∇E (of
/// initial networks, a pattern of period 4 has 6 % of its square; with means 1.4 %). With fewer
/// `energy.levels` than three the layers before are left out, and a 3×3 convolution of stride 1
/// reads the image in place of the last of those: "layers.1" with two levels. Errors:
/// configuration, where a side of the image is below 2^levels.
Plan convnet_plan(const EnergyConfig& config, const StateShape& shape);

/// `energy.type: resnet`: residual blocks as in Du and Mordatch (arXiv 1903.08689). A 3×3
/// convolution, three levels of `energy.blocks` blocks h ↦ second(f(first(f(h)))) + h, the first of
/// each level doubling the channels and halving the image, then a sum over positions and one linear
/// layer. Errors: configuration, where a side of the image is below 8.
Plan resnet_plan(const EnergyConfig& config, const StateShape& shape);

}  // namespace stanley
