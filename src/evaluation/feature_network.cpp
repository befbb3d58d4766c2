#include "evaluation/feature_network.hpp"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>
#include <torch/script.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "config/error.hpp"
#include "config/files.hpp"
#include "energy/torchscript.hpp"
#include "evaluation/resize.hpp"
#include "parallel/agree.hpp"
#include "storage/array.hpp"
#include "storage/digest.hpp"

namespace stanley {
namespace {

/// What the name of a protocol means.
struct Pinned {
  std::string weights;  ///< their digest; empty: any
  FeatureInput input;
};

/// How a convention prepares files of 8 bits for the Inception network of 2015-12-05.
FeatureInput inception_input(const std::array<double, 2>& range, double mean, double deviation,
                             Resize resize) {
  return {.channels = 3,
          .height = 299,
          .width = 299,
          .range = range,
          .mean = {mean, mean, mean},
          .deviation = {deviation, deviation, deviation},
          .resize = resize,
          .eight_bits = true};
}

const std::map<std::string, Pinned, std::less<>> pinned_protocols{
    {"public",
     {"9f577448e7be9161", {3, 128, 128, {0, 1}, {0.485, 0.456, 0.406}, {0.229, 0.224, 0.225}}}},
    {"tensorflow", {"", inception_input({0, 255}, 128, 128, Resize::bilinear_tensorflow1)}},
    {"pytorch-fid", {"", inception_input({0, 1}, 0.5, 0.5, Resize::bilinear)}},
    {"clean-fid", {"", inception_input({0, 255}, 128, 128, Resize::bicubic_antialias)}}};

constexpr const char* how_to_make =
    "tools/setup.sh --evaluate makes .data/features/efficientnet-lite0.pt";

std::string description_path(const std::string& module) {
  return std::filesystem::path(module).replace_extension(".json").string();
}

std::string read_or_refuse(const std::string& path, const std::string& option) {
  std::optional<std::string> bytes = read_file(path);
  if (bytes) return *std::move(bytes);
  throw FileError(
      fmt::format("{}: {} can't be read ({}): expected a TorchScript module "
                  "and a description beside it, {}; {}",
                  option, path, std::strerror(errno), description_path(path), how_to_make));
}

/// Of the floating-point parameters and buffers: in the order of their names, each name and its
/// numbers. Empty where there are none.
std::string weights_digest(const torch::jit::Module& module) {
  std::map<std::string, at::Tensor> weights;
  for (const auto& one : module.named_parameters()) weights[one.name] = one.value;
  for (const auto& one : module.named_buffers()) weights[one.name] = one.value;
  std::string bytes;
  for (const auto& [name, tensor] : weights) {
    if (!tensor.is_floating_point()) continue;
    const at::Tensor numbers = tensor.detach().to(at::kCPU, at::kFloat).contiguous();
    bytes += name;
    bytes.append(static_cast<const char*>(numbers.const_data_ptr()), numbers.nbytes());
  }
  return bytes.empty() ? "" : digest_text(bytes);
}

/// Of one image.
void require_shape(const at::Tensor& made, const char* what, std::int64_t numbers) {
  if (made.sizes() == at::IntArrayRef({1, numbers})) return;
  throw FileError(fmt::format("of one image it makes {} of shape {}, not (1, {})", what,
                              shape_text(made.sizes().vec()), numbers));
}

}  // namespace

struct FeatureNetwork::Module {
  torch::jit::Module script;
};

FeatureNetwork::FeatureNetwork() = default;
FeatureNetwork::~FeatureNetwork() = default;
FeatureNetwork::FeatureNetwork(FeatureNetwork&&) noexcept = default;

FeatureNetwork FeatureNetwork::load(const std::string& path, const std::string& protocol,
                                    const std::string& option, Communicator& communicator) {
  FeatureNetwork network;
  network.path_ = path;
  std::string bytes, text;
  on_first_rank(communicator, [&] {
    bytes = read_or_refuse(path, option);
    text = read_or_refuse(description_path(path), option);
  });
  bytes = communicator.broadcast(std::move(bytes), 0);
  text = communicator.broadcast(std::move(text), 0);
  agree(communicator, [&] {
    const std::string json = description_path(path);
    try {
      network.read(bytes, text);
    } catch (const nlohmann::json::exception& error) {
      throw FileError(
          fmt::format("{}: {} doesn't describe a feature network ({}): expected "
                      "name, dimension, digest and input (tools/README.md); {}",
                      option, json, error.what(), how_to_make));
    } catch (const FileError& error) {
      throw FileError(fmt::format("{}: {} and {} don't fit: {}; {}", option, path, json,
                                  error.what(), how_to_make));
    } catch (const std::exception& error) {
      throw FileError(
          fmt::format("{}: {} is no TorchScript module that takes the input of "
                      "{} ({}); {}",
                      option, path, json, reason_of(error), how_to_make));
    }
    network.check_protocol(protocol, option);
  });
  return network;
}

void FeatureNetwork::read(const std::string& bytes, const std::string& text) {
  const auto description = nlohmann::json::parse(text);
  name_ = description.at("name").get<std::string>();
  dimension_ = description.at("dimension").get<std::int64_t>();
  input_ = feature_input_of(description.at("input"));
  const std::string found = digest_text(bytes);
  if (const auto meant = description.at("digest").get<std::string>(); found != meant) {
    throw FileError(
        fmt::format("the module's digest (XXH3) is {}, and {} in the description", found, meant));
  }
  std::istringstream stream(bytes);
  torch::jit::Module module = torch::jit::load(stream, at::kCPU);
  module.eval();
  digest_ = weights_digest(module);
  if (digest_.empty()) digest_ = found;
  identity_ = digest_text(bytes + text);
  classes_ = description.value("classes", std::vector<std::string>());
  if (!classes_.empty() && !module.find_method("logits")) {
    throw FileError("it has classes, and the module no method logits(features)");
  }
  std::vector<std::string> kept;  // beside forward
  if (!classes_.empty()) kept.emplace_back("logits");
  module_ = std::make_unique<Module>(module.hasattr("training") ? torch::jit::freeze(module, kept)
                                                                : module);  // else it is frozen
  const at::Tensor tried = forward(at::zeros({1, input_.channels, input_.height, input_.width}));
  require_shape(tried, "an output", dimension_);
  if (classes_.empty()) return;
  require_shape(logits(tried), "logits", static_cast<std::int64_t>(classes_.size()));
}

void FeatureNetwork::check_protocol(const std::string& protocol, const std::string& option) const {
  const auto found = pinned_protocols.find(protocol);
  if (found == pinned_protocols.end()) return;
  const Pinned& pinned = found->second;
  const bool same_weights = pinned.weights.empty() || pinned.weights == digest_;
  if (same_weights && pinned.input == input_) return;
  const std::string differs = same_weights
                                  ? "another input"
                                  : fmt::format("weights with the digest {}, and {} has {}",
                                                pinned.weights, path_, digest_);
  throw Error(
      ExitCode::configuration,
      fmt::format(
          "protocol {} means {}: leave {} out, or name a protocol of your own (--protocol NAME)",
          protocol, differs, option));
}

at::Tensor FeatureNetwork::forward(const at::Tensor& images) const {
  const c10::InferenceMode no_gradient;
  // What TorchScript's optimiser makes of the code depends on earlier calls.
  const torch::jit::GraphOptimizerEnabledGuard not_optimized(false);
  const c10::IValue output =
      module_->script.forward({images.contiguous(at::MemoryFormat::ChannelsLast)});
  if (!output.isTensor()) throw FileError("its output is no tensor");
  return output.toTensor().to(at::kFloat);
}

at::Tensor FeatureNetwork::logits(const at::Tensor& features) const {
  const c10::InferenceMode no_gradient;
  const torch::jit::GraphOptimizerEnabledGuard not_optimized(false);
  const c10::IValue output = module_->script.get_method("logits")({features.to(at::kFloat)});
  if (!output.isTensor()) throw FileError("its logits are no tensor");
  return output.toTensor().to(at::kFloat);
}

at::Tensor FeatureNetwork::features(const at::Tensor& states,
                                    const std::array<double, 2>& range) const {
  at::Tensor x = states.clamp(range[0], range[1]) - range[0];
  double width = range[1] - range[0];
  if (input_.eight_bits) {
    x = (x * (255 / width)).round();
    width = 255;
  }
  x = x * ((input_.range[1] - input_.range[0]) / width) + input_.range[0];
  x = x.expand({-1, input_.channels, -1, -1});
  if (x.size(2) != input_.height || x.size(3) != input_.width) {
    x = resized(x, input_.height, input_.width, input_.resize);
    if (input_.resize == Resize::bicubic_antialias) x = x.clamp(input_.range[0], input_.range[1]);
  }
  const auto by_channel = [&](const std::vector<double>& numbers) {
    return at::tensor(numbers, x.options()).view({1, input_.channels, 1, 1});
  };
  x = (x - by_channel(input_.mean)) / by_channel(input_.deviation);
  return forward(x);
}

}  // namespace stanley
