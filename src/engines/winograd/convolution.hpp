#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "kernels/convolution_shape.hpp"
#include "kernels/image_layout.hpp"
#include "kernels/memory.hpp"
#include "kernels/winograd.hpp"

namespace stanley {

/// The tiles of a layer of 3×3 and stride 1, or of 4×4 and stride 2, padding 1, between images of
/// these layouts.
WinogradTiles winograd_tiles(const ConvolutionShape& layer, const ImageLayout& input = {},
                             const ImageLayout& output = {});

/// The layout of an image between two such layers: room for the whole tiles of the one that writes
/// it and of the one that reads it; null where there is none.
ImageLayout winograd_layout(const ConvolutionShape* writer, const ConvolutionShape* reader);

/// Images that stand one behind the other and are transformed together: a matrix of inputs [image,
/// tile, tiles.depth()] for each point, and one of outputs [image, tile, columns()].
struct WinogradGroup {
  WinogradTiles tiles;
  std::int64_t images;

  std::int64_t rows() const { return images * tiles.count(); }
  std::int64_t columns() const { return tiles.output.channels; }
  /// Elements between the matrices of two points.
  std::int64_t input_stride() const { return winograd_stride(rows(), tiles.depth()); }
  std::int64_t output_stride() const { return winograd_stride(rows(), columns()); }
  /// Bytes of all, from a cache line on, and where the outputs begin.
  std::size_t scratch_size() const {
    return static_cast<std::size_t>(tiles.points() * (input_stride() + output_stride())) *
           sizeof(float);
  }
  float* outputs(float* inputs) const { return inputs + tiles.points() * input_stride(); }

  /// Image i's part of the inputs, and of the gradients of the outputs.
  void transform_input(std::int64_t i, const float* from, float* inputs) const;
  void transform_gradient(std::int64_t i, const float* from, float* outputs) const;
};

/// A convolution by Winograd's minimal filtering (kernels/winograd.hpp) with its gradient with
/// respect to the input, for groups of images that stand one behind the other. The last group may
/// have fewer: nothing is computed for images that are not there, and the numbers of one image do
/// not depend on the others.
class WinogradConvolution {
 public:
  /// In groups that are a multiple of `below` and divide `block`, with so many rows at least.
  WinogradConvolution(const ConvolutionShape& layer, const ImageLayout& input,
                      const ImageLayout& output, std::int64_t below, std::int64_t block,
                      std::int64_t least_rows);

  /// weight [out, in, kernel, kernel] and bias [out] of the network.
  void load(const float* weight, const float* bias);

  /// From the input of at most a group to its output, bias included. Surroundings are not written.
  void forward(std::int64_t images, const float* input, float* output, std::byte* scratch) const;

  /// From the gradient of the output of at most a group to that of its input, times `derivative`:
  /// f′ where the input is f of another convolution's output. Surroundings stay zero.
  void backward(std::int64_t images, const float* output, const float* derivative, float* input,
                std::byte* scratch) const;

  /// Images in a group.
  std::int64_t group() const { return group_.images; }
  /// Bytes that forward() and backward() need, from a cache line on.
  std::size_t scratch_size() const { return group_.scratch_size(); }

 private:
  void multiply_points(std::int64_t images, std::int64_t depth, std::int64_t columns,
                       const float* left, const AlignedBuffer<float>& panels, float* result) const;

  ConvolutionShape layer_;
  WinogradGroup group_;
  AlignedBuffer<float> forward_, backward_;  // filters, and each point's transposed ones
  AlignedBuffer<float> bias_;
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

/// That of a layer that winograd_tiles() serves, between images of these layouts, for groups of so
/// many: tap by tap, or by Winograd's minimal filtering, as suits the size.
std::unique_ptr<FilterGradient> make_filter_gradient(const ConvolutionShape& layer,
                                                     const ImageLayout& input,
                                                     const ImageLayout& output, std::int64_t group);

}  // namespace stanley
