#include "energy/networks.hpp"

#include <ATen/ATen.h>

#include "config/error.hpp"

namespace stanley {
namespace {

class Mlp : public Network {
 public:
  Mlp(const EnergyConfig& config, const StateShape& shape, std::uint32_t seed)
      : Network(shape), config_(config) {
    std::int64_t in = element_count(shape);
    std::vector<std::int64_t> widths = config.hidden;
    widths.push_back(1);
    for (std::size_t layer = 0; layer < widths.size(); ++layer) {
      const std::string name = "layers." + std::to_string(layer);
      add_parameter(name + ".weight", {widths[layer], in}, in, seed);
      add_parameter(name + ".bias", {widths[layer]}, in, seed);
      count_flops(widths[layer] * in, 1);
      in = widths[layer];
    }
    if (config.spectral_normalization) normalize_spectrally(seed);
  }

  at::Tensor forward(const at::Tensor& state,
                     const std::vector<at::Tensor>& weights) const override {
    at::Tensor hidden = state.flatten(1);
    for (std::size_t i = 0; i < weights.size(); i += 2) {
      hidden = at::linear(i == 0 ? hidden : activate(config_, hidden), weights[i], weights[i + 1]);
    }
    return hidden.flatten().to(at::kFloat);
  }

 private:
  EnergyConfig config_;
};

class Convnet : public Network {
 public:
  Convnet(const EnergyConfig& config, const StateShape& shape, std::uint32_t seed)
      : Network(shape), config_(config), layers_(convnet_layers(config.channels, shape)) {
    for (std::size_t i = 0; i < layers_.size(); ++i) {
      const ConvolutionLayer& layer = layers_[i];
      const std::string name = "layers." + std::to_string(i);
      const std::int64_t fan_in = layer.in * layer.kernel_height * layer.kernel_width;
      add_parameter(name + ".weight",
                    {layer.out, layer.in, layer.kernel_height, layer.kernel_width}, fan_in, seed);
      add_parameter(name + ".bias", {layer.out}, fan_in, seed);
      count_flops(layer.out * fan_in, layer.out_height * layer.out_width);
    }
    if (config.spectral_normalization) normalize_spectrally(seed);
  }

  at::Tensor forward(const at::Tensor& state,
                     const std::vector<at::Tensor>& weights) const override {
    at::Tensor hidden = state;
    for (std::size_t i = 0; i < layers_.size(); ++i) {
      const ConvolutionLayer& layer = layers_[i];
      hidden = at::conv2d(i == 0 ? hidden : activate(config_, hidden), weights[2 * i],
                          weights[2 * i + 1], layer.stride, layer.padding);
    }
    return hidden.flatten().to(at::kFloat);
  }

 private:
  EnergyConfig config_;
  std::vector<ConvolutionLayer> layers_;
};

class Resnet : public Network {
 public:
  Resnet(const EnergyConfig& config, const StateShape& shape, std::uint32_t seed)
      : Network(shape), config_(config), blocks_(resnet_blocks(config, shape)) {
    const auto convolution = [&](const std::string& name, std::int64_t in, std::int64_t out,
                                 std::int64_t kernel, std::int64_t pixels) {
      const std::int64_t fan_in = in * kernel * kernel;
      add_parameter(name + ".weight", {out, in, kernel, kernel}, fan_in, seed);
      add_parameter(name + ".bias", {out}, fan_in, seed);
      count_flops(out * fan_in, pixels);
    };
    convolution("input", shape[0], config.channels, 3, shape[1] * shape[2]);
    for (const ResidualBlock& block : blocks_) {
      const std::int64_t pixels = block.height * block.width;
      convolution(block.name + "first", block.in, block.out, 3, pixels);
      convolution(block.name + "second", block.out, block.out, 3, pixels);
      if (block.halves) convolution(block.name + "skip", block.in, block.out, 1, pixels);
    }
    const std::int64_t channels = blocks_.back().out;
    add_parameter("output.weight", {1, channels}, channels, seed);
    add_parameter("output.bias", {1}, channels, seed);
    if (config.spectral_normalization) normalize_spectrally(seed);
  }

  at::Tensor forward(const at::Tensor& state,
                     const std::vector<at::Tensor>& weights) const override {
    auto weight = weights.begin();
    // The next convolution of the list, at unchanged size.
    const auto convolve = [&weight](const at::Tensor& input) {
      const at::Tensor& filter = *weight++;
      const at::Tensor& bias = *weight++;
      return at::conv2d(input, filter, bias, 1, filter.size(2) / 2);
    };
    at::Tensor hidden = convolve(state);
    for (const ResidualBlock& block : blocks_) {
      const at::Tensor first = convolve(activate(config_, hidden));
      const at::Tensor second = convolve(activate(config_, first));
      hidden = block.halves ? at::avg_pool2d(second + convolve(hidden), 2) : second + hidden;
    }
    const at::Tensor features = activate(config_, hidden).sum({2, 3});
    const at::Tensor& matrix = *weight++;
    return at::linear(features, matrix, *weight).flatten().to(at::kFloat);
  }

 private:
  EnergyConfig config_;
  std::vector<ResidualBlock> blocks_;
};

void require_side(const StateShape& shape, const char* type) {
  if (shape[1] >= 8 && shape[2] >= 8) return;
  throw Error(ExitCode::configuration,
              std::string("energy.type: ") + type +
                  " halves the image three times and needs sides of at least 8 pixels, not " +
                  std::to_string(shape[1]) + " x " + std::to_string(shape[2]) +
                  "; enlarge the images (tools/convert_images.py --pad or --size)");
}

}  // namespace

at::Tensor activate(const EnergyConfig& config, const at::Tensor& input) {
  return config.activation == Activation::silu ? at::silu(input)
                                               : at::leaky_relu(input, config.slope);
}

std::vector<ConvolutionLayer> convnet_layers(std::int64_t channels, const StateShape& shape) {
  require_side(shape, "convnet");
  std::vector<ConvolutionLayer> layers;
  std::int64_t height = shape[1], width = shape[2];
  const auto add = [&](std::int64_t in, std::int64_t out, std::int64_t kernel_height,
                       std::int64_t kernel_width, std::int64_t stride, std::int64_t padding) {
    const std::int64_t out_height = (height + 2 * padding - kernel_height) / stride + 1;
    const std::int64_t out_width = (width + 2 * padding - kernel_width) / stride + 1;
    layers.push_back({in, out, kernel_height, kernel_width, stride, padding, height, width,
                      out_height, out_width});
    height = out_height;
    width = out_width;
  };
  add(shape[0], channels, 3, 3, 1, 1);
  add(channels, 2 * channels, 4, 4, 2, 1);
  add(2 * channels, 4 * channels, 4, 4, 2, 1);
  add(4 * channels, 8 * channels, 4, 4, 2, 1);
  add(8 * channels, 1, height, width, 1, 0);
  return layers;
}

std::vector<ResidualBlock> resnet_blocks(const EnergyConfig& config, const StateShape& shape) {
  require_side(shape, "resnet");
  constexpr int levels = 3;
  std::vector<ResidualBlock> blocks;
  std::int64_t channels = config.channels, height = shape[1], width = shape[2];
  for (int level = 0; level < levels; ++level) {
    for (std::int64_t block = 0; block < config.blocks; ++block) {
      const bool halves = block == 0;
      const std::int64_t out = halves ? 2 * channels : channels;
      blocks.push_back({"levels." + std::to_string(level) + "." + std::to_string(block) + ".",
                        channels, out, height, width, halves});
      channels = out;
      if (halves) {
        height /= 2;
        width /= 2;
      }
    }
  }
  return blocks;
}

std::unique_ptr<Network> make_mlp(const EnergyConfig& config, const StateShape& shape,
                                  std::uint32_t seed) {
  return std::make_unique<Mlp>(config, shape, seed);
}

std::unique_ptr<Network> make_convnet(const EnergyConfig& config, const StateShape& shape,
                                      std::uint32_t seed) {
  return std::make_unique<Convnet>(config, shape, seed);
}

std::unique_ptr<Network> make_resnet(const EnergyConfig& config, const StateShape& shape,
                                     std::uint32_t seed) {
  return std::make_unique<Resnet>(config, shape, seed);
}

}  // namespace stanley
