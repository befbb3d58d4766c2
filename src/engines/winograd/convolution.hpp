#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/convolution_shape.hpp"
#include "kernels/image_layout.hpp"

namespace stanley {

/// A convolution with its gradient with respect to the input, for groups of images that stand one
/// behind the other. The last group may have fewer: nothing is computed for images that are not
/// there, and the numbers of one image do not depend on the others.
class Convolution {
 public:
  virtual ~Convolution() = default;

  /// weight [out, in, kernel, kernel] and bias [out] of the network.
  virtual void load(const float* weight, const float* bias) = 0;

  /// From the input of at most a group to its output, bias included. Surroundings are not written.
  virtual void forward(std::int64_t images, const float* input, float* output,
                       std::byte* scratch) const = 0;

  /// From the gradient of the output of at most a group to that of its input, times `derivative`:
  /// f′ where the input is f of another convolution's output. Surroundings stay zero.
  virtual void backward(std::int64_t images, const float* output, const float* derivative,
                        float* input, std::byte* scratch) const = 0;

  /// Images in a group.
  virtual std::int64_t group() const = 0;
  /// Bytes that forward() and backward() need, from a cache line on.
  virtual std::size_t scratch_size() const = 0;
};

/// Rows of a group's matrix products at least, where a block of images has so many: few for a
/// gradient of states, so that what is between the steps stays near, and more for one of weights,
/// whose sums are read and written for each group.
constexpr std::int64_t rows_for_states = 16, rows_for_weights = 64;

/// The gradient of a convolution's weights, added up over images in sums of its own form.
class FilterGradient {
 public:
  virtual ~FilterGradient() = default;

  /// Elements of a sum, which starts at zero.
  virtual std::int64_t sum_size() const = 0;
  /// Adds what one group's inputs and gradients of its outputs make.
  virtual void add(const float* input, const float* output, float* sum,
                   std::byte* scratch) const = 0;
  /// To weight [out, in, kernel, kernel] and bias [out].
  virtual void finish(const float* sum, float* weight, float* bias) const = 0;
  /// Bytes that add() needs, from a cache line on.
  virtual std::size_t scratch_size() const = 0;
};

/// That of a layer that make_winograd_convolution() serves, between images of these layouts, for
/// groups of so many: tap by tap, and by that or by Winograd's minimal filtering, as suits the
/// size.
std::unique_ptr<FilterGradient> make_direct_filter_gradient(const ConvolutionShape& layer,
                                                            const ImageLayout& input,
                                                            const ImageLayout& output,
                                                            std::int64_t group);
std::unique_ptr<FilterGradient> make_filter_gradient(const ConvolutionShape& layer,
                                                     const ImageLayout& input,
                                                     const ImageLayout& output, std::int64_t group);

/// The layout of an image between two layers that make_winograd_convolution() serves: room for the
/// whole tiles of the one that writes it and of the one that reads it; null where there is none.
ImageLayout winograd_layout(const ConvolutionShape* writer, const ConvolutionShape* reader);

/// By Winograd's minimal filtering (kernels/winograd.hpp) a layer of 3×3 and stride 1, or of 4×4
/// and stride 2, padding 1, between images of these layouts, in groups that are a multiple of
/// `below` and divide `block`.
std::unique_ptr<Convolution> make_winograd_convolution(const ConvolutionShape& layer,
                                                       const ImageLayout& input,
                                                       const ImageLayout& output,
                                                       std::int64_t below, std::int64_t block,
                                                       std::int64_t least_rows);

}  // namespace stanley
