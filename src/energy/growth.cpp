#include "energy/growth.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <span>

namespace stanley {
namespace {

/// In one dimension: that the new first layer's filter which looks `shift` pixels ahead is read by
/// the second one at `tap` of its kernel with the old weight `old`, times `factor`.
struct Reading {
  std::int64_t shift, tap, old;
};

/// Stride 2 and a 4×4 kernel, whose taps 0 to 3 read the pixels 2p − 1 to 2p + 2: the old kernel,
/// each tap for two pixels, has six. Each is reached in the one way whose middle pixel lies inside
/// the image wherever the pixel itself does: zeros around the one are zeros around the other.
constexpr Reading over_strides[] = {{-1, 0, 0}, {-1, 1, 0}, {-1, 2, 1},
                                    {+1, 1, 1}, {+1, 2, 2}, {+1, 3, 2}};
/// Means over 2×2 after a 3×3 kernel, whose taps 0 to 2 read the pixels q − 1 to q + 1: the old
/// kernel with zeros between its taps, at the pixels q − 2, q and q + 2.
constexpr Reading over_means[] = {{-1, 0, 0}, {0, 1, 1}, {+1, 2, 2}};

std::span<const Reading> readings(bool means) {
  return means ? std::span<const Reading>(over_means) : std::span<const Reading>(over_strides);
}

std::int64_t shifts_of(bool means) { return means ? 9 : 4; }

/// The number of a pair's filter with the sign +; the one with − follows.
std::int64_t filter_of(bool means, std::int64_t channel, std::int64_t down, std::int64_t right) {
  const std::int64_t shift = means ? 3 * (down + 1) + right + 1 : (down + 1) + (right + 1) / 2;
  return 2 * (channel * shifts_of(means) + shift);
}

/// Puts the pairs into the first layer's weight [channels, image channels, 3, 3] and bias.
void pass_shifted_images(bool means, at::Tensor& weight, at::Tensor& bias) {
  const std::int64_t step = means ? 1 : 2;
  const std::int64_t pairs = shifts_of(means) * weight.size(1);
  weight.narrow(0, 0, 2 * pairs).zero_();
  bias.narrow(0, 0, 2 * pairs).zero_();
  for (std::int64_t channel = 0; channel < weight.size(1); ++channel) {
    for (std::int64_t down = -1; down <= 1; down += step) {
      for (std::int64_t right = -1; right <= 1; right += step) {
        const std::int64_t filter = filter_of(means, channel, down, right);
        weight[filter][channel][down + 1][right + 1] = 1;
        weight[filter + 1][channel][down + 1][right + 1] = -1;
      }
    }
  }
}

/// The second layer's weight, which reads the pairs as `old` [filters, image channels, 3, 3] read
/// the reduced image. `scale`: what a pair passes of a pixel.
void read_pairs(bool means, double scale, const at::Tensor& old, at::Tensor& weight) {
  weight.zero_();
  // The means over 2×2 pixels that the old layer was given; of the new one's they come after it.
  const double factor = (means ? 1.0 : 0.25) / scale;
  for (std::int64_t channel = 0; channel < old.size(1); ++channel) {
    for (const Reading& down : readings(means)) {
      for (const Reading& right : readings(means)) {
        const at::Tensor taken = old.select(1, channel).select(1, down.old).select(1, right.old);
        const std::int64_t filter = filter_of(means, channel, down.shift, right.shift);
        for (const double sign : {1.0, -1.0}) {
          weight.select(1, filter + (sign < 0 ? 1 : 0))
              .select(1, down.tap)
              .select(1, right.tap)
              .add_(taken, sign * factor);
        }
      }
    }
  }
}

}  // namespace

std::int64_t channels_to_grow(Downsampling downsampling, std::int64_t image_channels) {
  return 2 * shifts_of(downsampling == Downsampling::means) * image_channels;
}

std::vector<at::Tensor> grow(const Plan& below, const std::vector<at::Tensor>& weights,
                             const Plan& above, const std::vector<at::Tensor>& fresh) {
  const c10::NoGradGuard no_gradient;
  std::vector<at::Tensor> grown;
  for (const at::Tensor& tensor : fresh) grown.push_back(tensor.detach().clone());
  const Layer &input = below.layers[0], &first = above.layers[0], &second = above.layers[1];
  const double scale = above.activation == Activation::silu ? 1 : 1 + above.slope;
  pass_shifted_images(second.means, grown[first.weight], grown[first.weight + 1]);
  read_pairs(second.means, scale, weights[input.weight].detach(), grown[second.weight]);
  grown[second.weight + 1].copy_(weights[input.weight + 1]);
  const auto take_over = [&](std::size_t to, std::size_t from) {
    for (std::size_t part : {0, 1}) grown[to + part].copy_(weights[from + part]);
  };
  for (std::size_t i = 1; i < below.layers.size(); ++i) {
    take_over(above.layers[i + 1].weight, below.layers[i].weight);
  }
  take_over(above.last, below.last);
  return grown;
}

}  // namespace stanley
