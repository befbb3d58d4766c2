#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "config/config.hpp"
#include "energy/elementwise.hpp"
#include "energy/image_layout.hpp"
#include "energy/network.hpp"

namespace stanley {

/// A 4×4 convolution of stride 2 and padding 1 of the convnet, with its gradient with respect to
/// the input, for groups of images that stand one behind the other.
template <typename Element>
class StridedLayer {
 public:
  virtual ~StridedLayer() = default;

  /// weight [out, in, 4, 4] and bias [out] of the network.
  virtual void load(const float* weight, const float* bias) = 0;

  /// From one group's input to its output, bias included. Surroundings are not written.
  virtual void forward(const Element* input, Element* output, std::byte* scratch) const = 0;

  /// From the gradient of one group's output to that of its input, whose surroundings it spoils.
  virtual void backward(const Element* output, Element* input, std::byte* scratch) const = 0;

  /// Images in a group.
  virtual std::int64_t group() const = 0;
  /// Bytes that forward() and backward() need, from a cache line on.
  virtual std::size_t scratch_size() const = 0;
};

/// The strided layers of a convnet and the layouts of the images between them, the first layer's
/// input first.
template <typename Element>
struct StridedLayers {
  std::vector<std::unique_ptr<StridedLayer<Element>>> layers;
  std::vector<ImageLayout> layouts;
};

/// By oneDNN's direct convolutions, which use AMX.
StridedLayers<Bfloat16> make_direct_layers(const std::vector<ConvolutionLayer>& layers,
                                           std::int64_t block);

/// By Winograd's minimal filtering (energy/winograd.hpp) and oneDNN's matrix products.
StridedLayers<float> make_winograd_layers(const std::vector<ConvolutionLayer>& layers,
                                          std::int64_t block);

}  // namespace stanley
