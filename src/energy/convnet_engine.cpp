#include <ATen/ATen.h>
#include <omp.h>

#include <algorithm>
#include <type_traits>

#include "energy/convolution.hpp"
#include "energy/elementwise.hpp"
#include "energy/gradient_engine.hpp"
#include "energy/input_convolution.hpp"
#include "energy/vectorized.hpp"

namespace stanley {
namespace {

/// States of one pass through the network: so few that all activations stay in a core's cache.
constexpr std::int64_t block_size = 16;

template <typename Element>
ConvolutionChain<Element> make_chain(const std::vector<ConvolutionLayer>& layers) {
  if constexpr (std::is_same_v<Element, float>) {
    return make_winograd_chain(layers, block_size);
  } else {
    return make_direct_chain(layers, block_size);
  }
}

/// What one thread needs for one block; allocated once. A hidden image is the input of a strided
/// layer, or of the last layer, in groups of as many as that takes at a time.
template <typename Element>
struct Workspace {
  typename InputConvolution<Element>::Workspace input;
  std::vector<AlignedBuffer<Element>> value;       // one group; reused for gradients of the
                                                   // convolution below
  std::vector<AlignedBuffer<Element>> gradient;    // one group, of the activation
  std::vector<AlignedBuffer<Element>> derivative;  // f′ at each activation of the block
  AlignedBuffer<std::byte> scratch;
};

/// The engine stores activations as Element, channels last. Backward through the state alone:
/// hidden layer i's value buffer is reused for the gradient of its convolution's output.
template <typename Element>
class ConvnetEngine : public GradientEngine {
 public:
  ConvnetEngine(const EnergyConfig& config, const StateShape& shape)
      : config_(config),
        shape_(shape),
        layers_(convnet_layers(config.channels, shape)),
        // The first layer has few input channels, the last one is a scalar product for each state.
        strided_(make_chain<Element>({layers_.begin() + 1, layers_.end() - 1})),
        input_(shape, config.channels, layouts()[0]) {}

  void load(const std::vector<at::Tensor>& weights) override {
    std::vector<at::Tensor> flat;
    for (const at::Tensor& weight : weights) flat.push_back(weight.detach().contiguous());
    const auto data = [&](std::size_t i) { return flat[i].const_data_ptr<float>(); };
    input_.load(data(0), data(1));
    for (std::size_t i = 0; i < levels(); ++i) {
      strided(i).load(data(2 * i + 2), data(2 * i + 3));
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
  std::size_t levels() const { return strided_.convolutions.size(); }
  const std::vector<ImageLayout>& layouts() const { return strided_.layouts; }
  Convolution<Element>& strided(std::size_t level) { return *strided_.convolutions[level]; }
  const Convolution<Element>& strided(std::size_t level) const {
    return *strided_.convolutions[level];
  }

  /// weight [channel, height, width], to the layout of a top image without its surroundings.
  void load_last(const float* weight, float bias) {
    const ImageLayout& top = layouts().back();
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
    return level < levels() ? strided(level).group() : block_size;
  }

  void add_workspace() {
    Workspace<Element> workspace;
    workspace.input = input_.make_workspace();
    for (std::size_t level = 0; level < layouts().size(); ++level) {
      workspace.value.emplace_back(layouts()[level].size() * group(level));
      workspace.gradient.emplace_back(layouts()[level].size() * group(level));
      workspace.derivative.emplace_back(layouts()[level].size() * block_size);
    }
    std::size_t scratch = 0;
    for (const auto& layer : strided_.convolutions) {
      scratch = std::max(scratch, layer->scratch_size());
    }
    workspace.scratch = AlignedBuffer<std::byte>(static_cast<std::int64_t>(scratch));
    workspaces_.push_back(std::move(workspace));
  }

  /// The first `count` (at most block_size) states; the rest of the block is computed from what
  /// the buffers hold, and dropped.
  void evaluate_block(Workspace<Element>& workspace, std::int64_t count, const float* state,
                      float* energy, float* gradient) {
    const std::size_t top = levels();
    forward(workspace, top, 0, count, state);
    for (std::int64_t i = 0; i < count; ++i) energy[i] = last_layer(workspace, i);
    backward(workspace, top, 0, count, gradient);
  }

  /// Calls visit(offset) for each row of an image.
  template <typename Visit>
  void for_each_row(std::size_t level, Visit visit) const {
    const ImageLayout& layout = layouts()[level];
    for (std::int64_t y = 0; y < layout.height; ++y) visit(layout.row(y));
  }

  /// Depth first, so that what a layer writes is read while it is in the cache: fills value[level]
  /// with the activations of the group of the block that starts at image `first`.
  void forward(Workspace<Element>& workspace, std::size_t level, std::int64_t first,
               std::int64_t count, const float* state) {
    const std::int64_t size = layouts()[level].size();
    Element* value = workspace.value[level].data();
    const std::int64_t step = level == 0 ? 1 : group(level - 1);
    for (std::int64_t i = 0; i < group(level); i += step) {
      if (level > 0) {
        forward(workspace, level - 1, first + i, count, state);
        strided(level - 1).forward(workspace.value[level - 1].data(), value + i * size,
                                   workspace.scratch.data());
      } else if (first + i < count) {
        input_.forward(workspace.input, state + (first + i) * element_count(shape_),
                       value + i * size);
      }
      for (std::int64_t k = i; k < i + step; ++k) {
        Element* derivative = workspace.derivative[level].data() + (first + k) * size;
        for_each_row(level, [&](std::int64_t row) {
          activate_with_derivative(config_.activation, static_cast<float>(config_.slope),
                                   layouts()[level].row_size(), value + k * size + row,
                                   derivative + row);
        });
      }
    }
  }

  /// From the gradients of the convolution's outputs in value[level] to those of the states.
  void backward(Workspace<Element>& workspace, std::size_t level, std::int64_t first,
                std::int64_t count, float* gradient) {
    const Element* value = workspace.value[level].data();
    const std::int64_t size = layouts()[level].size();
    if (level == 0) {
      for (std::int64_t i = 0; i < std::min(group(0), count - first); ++i) {
        input_.backward(workspace.input, value + i * size,
                        gradient + (first + i) * element_count(shape_));
      }
      return;
    }
    const std::int64_t below = layouts()[level - 1].size(), step = group(level - 1);
    for (std::int64_t i = 0; i < group(level); i += step) {
      strided(level - 1).backward(value + i * size, workspace.gradient[level - 1].data(),
                                  workspace.scratch.data());
      for (std::int64_t k = 0; k < step; ++k) {
        const Element* derivative =
            workspace.derivative[level - 1].data() + (first + i + k) * below;
        for_each_row(level - 1, [&](std::int64_t row) {
          multiply(layouts()[level - 1].row_size(),
                   workspace.gradient[level - 1].data() + k * below + row, derivative + row,
                   workspace.value[level - 1].data() + k * below + row);
        });
      }
      backward(workspace, level - 1, first + i, count, gradient);
    }
  }

  /// Energy of image i, and its gradient in the top image's convolution output.
  float last_layer(Workspace<Element>& workspace, std::int64_t i) {
    const std::size_t top = levels();
    const std::int64_t size = layouts()[top].row_size(), image = i * layouts()[top].size();
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

  EnergyConfig config_;
  StateShape shape_;
  std::vector<ConvolutionLayer> layers_;
  ConvolutionChain<Element> strided_;  // and the layouts of the hidden images
  InputConvolution<Element> input_;
  std::vector<Workspace<Element>> workspaces_;  // one for each thread
  AlignedBuffer<float> last_weight_;            // [height, width, channel]
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
