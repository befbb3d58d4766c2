#pragma once

#include <array>
#include <optional>
#include <vector>

#include "energy/tile_pass.hpp"

namespace stanley {

/// The resnet for sixteen states at a time, by tile products, layer by layer.
class ResnetTilePass : public TilePass {
 public:
  /// Images of sixteen states, whole.
  struct Images {
    std::int64_t height = 0, width = 0, channels = 0;
    TileRows rows;

    Images() = default;
    Images(std::int64_t height_of, std::int64_t width_of, std::int64_t channels_of)
        : height(height_of),
          width(width_of),
          channels(whole_tiles(channels_of)),
          rows(height, width, channels) {}

    Bfloat16* at(std::int64_t y, std::int64_t x, std::int64_t channel = 0) {
      return rows.row(y) + x * rows.pixel_size() + channel * tile_images;
    }
  };

  /// What a residual block holds of one block of states. Gradients take the place of what they are
  /// gradients of.
  struct Kept {
    Images hidden, value, derivative;  // of its input: before, f and f′
    Images middle, middle_derivative;
    Images mean, skip;  // where it halves: the input's, and its product
  };

  /// What one block needs; allocated once.
  struct Workspace {
    std::vector<Kept> kept;  // one for each residual block
    Images top, top_derivative;
    std::array<float, tile_images> energies;
  };

  // As ConvnetTilePass, whose declarations say more. Of the images only those of the input's taps
  // are kept for the gradients of weights alone.
  ResnetTilePass(const Plan& plan, bool keeps_images);
  void load(const std::vector<at::Tensor>& weights);
  Workspace make_workspace(bool shared) const;
  void forward(const Tiles& tiles, const Share& share, Scratch& scratch, Workspace& workspace,
               std::int64_t count, const float* state) const;
  void backward(const Tiles& tiles, const Share& share, Scratch& scratch, Workspace& workspace,
                float* gradient) const;
  void backward_to_weights(const Tiles& tiles, Scratch& scratch, Workspace& workspace,
                           const float* factor, float* last, const VisitTileLayer& visit) const;

 private:
  /// A residual block: two layers of the plan.
  struct Block {
    std::size_t layer;  // of layers() that `first` is; the others follow
    TileConvolution first, second;
    std::optional<TileConvolution> skip{};  // where it halves
  };

  void forward_input(const Tiles& tiles, const Share& share, Scratch& scratch, Workspace& workspace,
                     std::int64_t count, const float* state) const;
  void forward(const Tiles& tiles, const Share& share, float* sums, Workspace& workspace,
               std::size_t i) const;
  TileActivation activation(std::int64_t channels, const float* z, const Bfloat16* skip,
                            Bfloat16* hidden, Bfloat16* value, Bfloat16* derivative) const;
  static void make_skip(const Tiles& tiles, const Share& share, const Block& residual, Kept& kept,
                        float* sums);
  void add_energies_of_top(Workspace& workspace) const;
  void start_gradients(const Share& share, Workspace& workspace, const float* factor) const;
  template <typename Visit>
  void backward(const Tiles& tiles, const Share& share, float* sums, Workspace& workspace,
                std::size_t i, const Visit& visit) const;

  std::vector<Block> residuals_;
};

}  // namespace stanley
