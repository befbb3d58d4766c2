#pragma once

#include <array>
#include <vector>

#include "energy/tile_pass.hpp"

namespace stanley {

/// The convnet for sixteen states at a time, by tile products: a few rows of each level as soon as
/// those that they need are there, so that all but the derivatives stays in a core's cache from
/// when it is made until it is used. Threads that work together on a block make the rows of one
/// level after the other instead.
class ConvnetTilePass : public TilePass {
 public:
  /// What a level holds of one block of states.
  struct Images {
    TileRows values, gradients;
    AlignedBuffer<Bfloat16> derivatives;               // [height, width, channel / 2, image, 2]
    std::int64_t values_made = 0, gradients_made = 0;  // rows
  };

  /// What one block needs; allocated once.
  struct Workspace {
    std::vector<Images> images;
    std::array<float, tile_images> energies;
  };

  /// `keeps_images`: whole ones, for gradients of weights.
  ConvnetTilePass(const Plan& plan, bool keeps_images);

  /// The network's weights and biases in order.
  void load(const std::vector<at::Tensor>& weights);

  /// `shared`: for threads that work together.
  Workspace make_workspace(bool shared) const;

  /// Energies of the first `count` states at `state` to the workspace: this share of the work. The
  /// thread of rank 0 finds the energies there.
  void forward(const Tiles& tiles, const Share& share, Scratch& scratch, Workspace& workspace,
               std::int64_t count, const float* state) const;

  /// Their gradients, after forward().
  void backward(const Tiles& tiles, const Share& share, Scratch& scratch, Workspace& workspace,
                float* gradient) const;

  /// After forward() of all the work: adds each energy's `factor` [image] times its gradient with
  /// respect to the last weight to `last` [last_size(), image], and calls visit(layer, input,
  /// gradient) for each of layers(), with the gradients of its outputs times that factor.
  void backward_to_weights(const Tiles& tiles, Scratch& scratch, Workspace& workspace,
                           const float* factor, float* last, const VisitTileLayer& visit) const;

 private:
  /// The images between two layers.
  struct Level {
    std::int64_t height, width, channels;

    std::int64_t pixel_size() const { return channels * tile_images; }
    /// Rows that are made at a time, so that products have pixels enough: on the way up,
    std::int64_t rows_up() const { return std::max<std::int64_t>(1, span_pixels / width); }
    /// and on the way down, where each pixel of a square of 2×2 has weights of its own.
    std::int64_t rows_down() const {
      return 2 * std::max<std::int64_t>(1, 2 * span_pixels / width);
    }
  };

  std::size_t top() const { return levels_.size() - 1; }
  const float* last_weight(std::int64_t y, std::int64_t x) const {
    return last_weight_.data() + (y * levels_.back().width + x) * levels_.back().channels;
  }

  void make_values(const Tiles& tiles, Scratch& scratch, Workspace& workspace, std::size_t level,
                   std::int64_t end) const;
  void make_value_rows(const Tiles& tiles, Scratch& scratch, Workspace& workspace,
                       std::size_t level, std::int64_t first, std::int64_t end) const;
  void add_energies_of_row(Workspace& workspace, std::int64_t y) const;
  void make_gradients(const Tiles& tiles, Scratch& scratch, Workspace& workspace,
                      const float* factor, std::size_t level, std::int64_t end) const;
  void make_gradient_rows(const Tiles& tiles, Scratch& scratch, Workspace& workspace,
                          const float* factor, std::size_t level, std::int64_t first,
                          std::int64_t end) const;
  void start_gradients(Workspace& workspace, const float* factor, std::int64_t first,
                       std::int64_t end) const;
  static Bfloat16* derivative(Images& images, const Level& level, std::int64_t y, std::int64_t x,
                              std::int64_t channel);

  bool keeps_images_;
  std::vector<Level> levels_;                  // the input convolution's first
  std::vector<TileConvolution> convolutions_;  // between two levels
};

}  // namespace stanley
