#include <ATen/ATen.h>
#include <omp.h>

#include <algorithm>
#include <type_traits>

#include "energy/elementwise.hpp"
#include "energy/gradient_engine.hpp"
#include "energy/strided_layer.hpp"
#include "energy/vectorized.hpp"

namespace stanley {
namespace {

/// States of one pass through the network: so few that all activations stay in a core's cache.
constexpr std::int64_t block_size = 16;

template <typename Element>
StridedLayers<Element> make_strided_layers(const std::vector<ConvolutionLayer>& layers) {
  if constexpr (std::is_same_v<Element, float>) {
    return make_winograd_layers(layers, block_size);
  } else {
    return make_direct_layers(layers, block_size);
  }
}

/// What one thread needs for one block; allocated once. A hidden image is the input of a strided
/// layer, or of the last layer, in groups of as many as that takes at a time.
template <typename Element>
struct Workspace {
  AlignedBuffer<float> state;  // one image, [channel, height + 2, width + 2], its border zero
  std::vector<AlignedBuffer<Element>> value;       // one group; reused for gradients of the
                                                   // convolution below
  std::vector<AlignedBuffer<Element>> gradient;    // one group, of the activation
  std::vector<AlignedBuffer<Element>> derivative;  // f′ at each activation of the block
  AlignedBuffer<float> taps;                       // see backward_input()
  AlignedBuffer<std::byte> scratch;
};

/// The engine stores activations as Element, channels last. Backward through the state alone:
/// hidden layer i's value buffer is reused for the gradient of its convolution's output.
template <typename Element>
class ConvnetEngine : public GradientEngine {
 public:
  ConvnetEngine(const EnergyConfig& config, const StateShape& shape)
      : config_(config), shape_(shape), layers_(convnet_layers(config.channels, shape)) {
    // The first layer has few input channels, the last one is a scalar product for each state.
    StridedLayers<Element> strided =
        make_strided_layers<Element>({layers_.begin() + 1, layers_.end() - 1});
    strided_ = std::move(strided.layers);
    layouts_ = std::move(strided.layouts);
    taps_ = shape[0] * 9;
  }

  void load(const std::vector<at::Tensor>& weights) override {
    std::vector<at::Tensor> flat;
    for (const at::Tensor& weight : weights) flat.push_back(weight.detach().contiguous());
    const auto data = [&](std::size_t i) { return flat[i].const_data_ptr<float>(); };
    load_first(data(0), data(1));
    for (std::size_t i = 0; i < strided_.size(); ++i) {
      strided_[i]->load(data(2 * i + 2), data(2 * i + 3));
    }
    load_last(data(flat.size() - 2), *data(flat.size() - 1));
  }

  void evaluate(const at::Tensor& state, at::Tensor& energy, at::Tensor& gradient) override {
    const std::int64_t count = state.size(0), elements = element_count(shape_);
    const auto* in = state.const_data_ptr<float>();
    auto* energies = energy.mutable_data_ptr<float>();
    auto* gradients = gradient.mutable_data_ptr<float>();
    const std::int64_t blocks = (count + block_size - 1) / block_size;
    const int threads = static_cast<int>(std::min<std::int64_t>(omp_get_max_threads(), blocks));
    while (workspaces_.size() < static_cast<std::size_t>(threads)) add_workspace();
#pragma omp parallel for num_threads(threads) schedule(static)
    for (std::int64_t block = 0; block < blocks; ++block) {
      const std::int64_t first = block * block_size;
      evaluate_block(workspaces_[static_cast<std::size_t>(omp_get_thread_num())],
                     std::min(block_size, count - first), in + first * elements, energies + first,
                     gradients + first * elements);
    }
  }

  bool batch_invariant() const override { return true; }

  std::string description() const override {
    return std::is_same_v<Element, float> ? "Winograd float32" : "oneDNN bfloat16";
  }

 private:
  /// weight [filter, channel, 3, 3].
  void load_first(const float* weight, const float* bias) {
    const std::int64_t filters = layouts_[0].channels, columns = whole_lanes(taps_);
    first_weight_ = AlignedBuffer<float>(taps_ * filters);
    first_bias_ = AlignedBuffer<float>(filters);
    tap_weight_ = AlignedBuffer<float>(filters * columns);
    for (std::int64_t filter = 0; filter < config_.channels; ++filter) {
      for (std::int64_t tap = 0; tap < taps_; ++tap) {
        const float value = weight[filter * taps_ + tap];
        first_weight_.data()[tap * filters + filter] = value;
        tap_weight_.data()[filter * columns + tap] = value;
      }
    }
    std::copy_n(bias, config_.channels, first_bias_.data());
  }

  /// weight [channel, height, width], to the layout of a top image without its surroundings.
  void load_last(const float* weight, float bias) {
    const ImageLayout& top = layouts_.back();
    const std::int64_t pixels = top.height * top.width;
    last_weight_ = AlignedBuffer<float>(pixels * top.channels);
    for (std::int64_t channel = 0; channel < layers_.back().in; ++channel) {
      for (std::int64_t pixel = 0; pixel < pixels; ++pixel) {
        last_weight_.data()[pixel * top.channels + channel] = weight[channel * pixels + pixel];
      }
    }
    last_bias_ = bias;
  }

  /// Images of this level that are worked on together.
  std::int64_t group(std::size_t level) const {
    return level < strided_.size() ? strided_[level]->group() : block_size;
  }

  void add_workspace() {
    Workspace<Element> workspace;
    workspace.state = AlignedBuffer<float>(shape_[0] * (shape_[1] + 2) * (shape_[2] + 2));
    for (std::size_t level = 0; level < layouts_.size(); ++level) {
      workspace.value.emplace_back(layouts_[level].size() * group(level));
      workspace.gradient.emplace_back(layouts_[level].size() * group(level));
      workspace.derivative.emplace_back(layouts_[level].size() * block_size);
    }
    workspace.taps = AlignedBuffer<float>(shape_[2] * whole_lanes(taps_));
    std::size_t scratch = 0;
    for (const auto& layer : strided_) scratch = std::max(scratch, layer->scratch_size());
    workspace.scratch = AlignedBuffer<std::byte>(static_cast<std::int64_t>(scratch));
    workspaces_.push_back(std::move(workspace));
  }

  /// The first `count` (at most block_size) states; the rest of the block is computed from what
  /// the buffers hold, and dropped.
  void evaluate_block(Workspace<Element>& workspace, std::int64_t count, const float* state,
                      float* energy, float* gradient) {
    const std::size_t top = strided_.size();
    forward(workspace, top, 0, count, state);
    for (std::int64_t i = 0; i < count; ++i) energy[i] = last_layer(workspace, i);
    backward(workspace, top, 0, count, gradient);
  }

  /// Calls visit(offset) for each row of an image.
  template <typename Visit>
  void for_each_row(std::size_t level, Visit visit) const {
    const ImageLayout& layout = layouts_[level];
    for (std::int64_t y = 0; y < layout.height; ++y) visit(layout.row(y));
  }

  /// Depth first, so that what a layer writes is read while it is in the cache: fills value[level]
  /// with the activations of the group of the block that starts at image `first`.
  void forward(Workspace<Element>& workspace, std::size_t level, std::int64_t first,
               std::int64_t count, const float* state) {
    const std::int64_t size = layouts_[level].size();
    Element* value = workspace.value[level].data();
    const std::int64_t step = level == 0 ? 1 : group(level - 1);
    for (std::int64_t i = 0; i < group(level); i += step) {
      if (level > 0) {
        forward(workspace, level - 1, first + i, count, state);
        strided_[level - 1]->forward(workspace.value[level - 1].data(), value + i * size,
                                     workspace.scratch.data());
      } else if (first + i < count) {
        first_layer(workspace, state + (first + i) * element_count(shape_), value + i * size);
      }
      for (std::int64_t k = i; k < i + step; ++k) {
        Element* derivative = workspace.derivative[level].data() + (first + k) * size;
        for_each_row(level, [&](std::int64_t row) {
          activate_with_derivative(config_.activation, static_cast<float>(config_.slope),
                                   layouts_[level].row_size(), value + k * size + row,
                                   derivative + row);
        });
      }
    }
  }

  /// From the gradients of the convolution's outputs in value[level] to those of the states.
  void backward(Workspace<Element>& workspace, std::size_t level, std::int64_t first,
                std::int64_t count, float* gradient) {
    const Element* value = workspace.value[level].data();
    const std::int64_t size = layouts_[level].size();
    if (level == 0) {
      for (std::int64_t i = 0; i < std::min(group(0), count - first); ++i) {
        backward_input(workspace, value + i * size, gradient + (first + i) * element_count(shape_));
      }
      return;
    }
    const std::int64_t below = layouts_[level - 1].size(), step = group(level - 1);
    for (std::int64_t i = 0; i < group(level); i += step) {
      strided_[level - 1]->backward(value + i * size, workspace.gradient[level - 1].data(),
                                    workspace.scratch.data());
      for (std::int64_t k = 0; k < step; ++k) {
        const Element* derivative =
            workspace.derivative[level - 1].data() + (first + i + k) * below;
        for_each_row(level - 1, [&](std::int64_t row) {
          multiply(layouts_[level - 1].row_size(),
                   workspace.gradient[level - 1].data() + k * below + row, derivative + row,
                   workspace.value[level - 1].data() + k * below + row);
        });
      }
      backward(workspace, level - 1, first + i, count, gradient);
    }
  }

  /// From a state [channel, height, width] to the first hidden image.
  void first_layer(Workspace<Element>& workspace, const float* state, Element* image) {
    const std::int64_t rows = shape_[0] * shape_[1], width = shape_[2];
    float* padded = workspace.state.data();
    for (std::int64_t row = 0; row < rows; ++row) {
      const std::int64_t y = row / shape_[1] * (shape_[1] + 2) + row % shape_[1] + 1;
      std::copy_n(state + row * width, width, padded + y * (width + 2) + 1);
    }
    convolve_first(layouts_[0], shape_[0], padded, first_weight_.data(), first_bias_.data(), image);
  }

  /// Energy of image i, and its gradient in the top image's convolution output.
  float last_layer(Workspace<Element>& workspace, std::int64_t i) {
    const std::size_t top = strided_.size();
    const std::int64_t size = layouts_[top].row_size(), image = i * layouts_[top].size();
    const float* weight = last_weight_.data();
    float energy = last_bias_;
    for_each_row(top, [&](std::int64_t row) {
      Element* value = workspace.value[top].data() + image + row;
      energy += dot(size, value, weight);
      multiply(size, weight, workspace.derivative[top].data() + image + row, value);
      weight += size;
    });
    return energy;
  }

  /// Through the first convolution, to the few channels of the image. Multiply each pixel's
  /// gradient with all 9·channels kernel columns first, then add up the shifted results.
  void backward_input(Workspace<Element>& workspace, const Element* image, float* gradient) {
    const std::int64_t height = shape_[1], width = shape_[2], columns = whole_lanes(taps_);
    const ImageLayout& layout = layouts_[0];
    std::fill_n(gradient, element_count(shape_), 0.0F);
    for (std::int64_t y = 0; y < height; ++y) {
      multiply_rows(width, layout.channels, columns, image + layout.row(y), tap_weight_.data(),
                    workspace.taps.data());
      for (std::int64_t tap = 0; tap < taps_; ++tap) {
        const std::int64_t channel = tap / 9, dy = tap % 9 / 3 - 1, dx = tap % 3 - 1;
        // Filter position (dy, dx) took the image's pixel (y + dy, x + dx) to the output's (y, x).
        if (y + dy < 0 || y + dy >= height) continue;
        const std::int64_t x_first = std::max<std::int64_t>(0, -dx);
        const std::int64_t x_last = std::min(width, width - dx);
        const float* taps = workspace.taps.data() + tap;
        float* row = gradient + (channel * height + y + dy) * width + dx;
        for (std::int64_t x = x_first; x < x_last; ++x) row[x] += taps[x * columns];
      }
    }
  }

  EnergyConfig config_;
  StateShape shape_;
  std::vector<ConvolutionLayer> layers_;
  std::vector<std::unique_ptr<StridedLayer<Element>>> strided_;
  std::vector<ImageLayout> layouts_;                // of the hidden images
  std::vector<Workspace<Element>> workspaces_;      // one for each thread
  std::int64_t taps_ = 0;                           // of the first convolution: (channel, y, x)
  AlignedBuffer<float> first_weight_, first_bias_;  // [tap, filter], [filter]
  AlignedBuffer<float> tap_weight_;                 // [filter, whole_lanes(taps_)]
  AlignedBuffer<float> last_weight_;                // [height, width, channel]
  float last_bias_ = 0;
};

}  // namespace

std::unique_ptr<GradientEngine> make_convnet_engine(const EnergyConfig& config,
                                                    const StateShape& shape, Precision precision) {
  if (precision == Precision::bfloat16) {
    return std::make_unique<ConvnetEngine<Bfloat16>>(config, shape);
  }
  return std::make_unique<ConvnetEngine<float>>(config, shape);
}

}  // namespace stanley
