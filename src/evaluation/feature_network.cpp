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
#include <span>
#include <sstream>

#include "config/error.hpp"
#include "config/files.hpp"
#include "parallel/agree.hpp"
#include "storage/digest.hpp"

namespace stanley {

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(FeatureInput, channels, height, width, range, mean, deviation)

namespace {

using Json = nlohmann::json;

/// The weights that belong to the name of a protocol.
const std::map<std::string, std::string, std::less<>> protocol_weights{
    {"public", "9f577448e7be9161"}};

constexpr const char* how_to_make =
    "tools/setup.sh --evaluate makes .data/features/efficientnet-lite0.pt";

std::string description_path(const std::string& module) {
  return std::filesystem::path(module).replace_extension(".json").string();
}

std::string read_or_refuse(const std::string& path) {
  std::optional<std::string> bytes = read_file(path);
  if (bytes) return *std::move(bytes);
  throw FileError(
      fmt::format("--features: {} can't be read ({}): expected a TorchScript module "
                  "and a description beside it, {}; {}",
                  path, std::strerror(errno), description_path(path), how_to_make));
}

std::string hexadecimal(std::uint64_t digest) { return fmt::format("{:016x}", digest); }

/// Of the floating-point parameters and buffers: in the order of their names, each name and its
/// numbers.
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
  return hexadecimal(digest(std::as_bytes(std::span(bytes))));
}

}  // namespace

struct FeatureNetwork::Module {
  torch::jit::Module script;
};

FeatureNetwork::FeatureNetwork() = default;
FeatureNetwork::~FeatureNetwork() = default;
FeatureNetwork::FeatureNetwork(FeatureNetwork&&) noexcept = default;

FeatureNetwork FeatureNetwork::load(const std::string& path, const std::string& protocol,
                                    Communicator& communicator) {
  FeatureNetwork network;
  network.path_ = path;
  std::string bytes, text;
  on_first_rank(communicator, [&] {
    bytes = read_or_refuse(path);
    text = read_or_refuse(description_path(path));
  });
  bytes = communicator.broadcast(std::move(bytes), 0);
  text = communicator.broadcast(std::move(text), 0);
  agree(communicator, [&] {
    try {
      const Json description = Json::parse(text);
      network.name_ = description.at("name").get<std::string>();
      network.dimension_ = description.at("dimension").get<std::int64_t>();
      network.input_ = description.at("input").get<FeatureInput>();
      const std::string found = hexadecimal(stanley::digest(std::as_bytes(std::span(bytes))));
      const auto meant = description.at("digest").get<std::string>();
      if (found != meant) {
        throw FileError(fmt::format(
            "--features: {} isn't the file that {} describes: its digest (XXH3) is {}, there it is "
            "{}; make both again ({})",
            path, description_path(path), found, meant, how_to_make));
      }
      std::istringstream stream(bytes);
      torch::jit::Module module = torch::jit::load(stream, at::kCPU);
      module.eval();
      network.digest_ = weights_digest(module);
      network.module_ = std::make_unique<Module>(torch::jit::freeze(module));
    } catch (const Json::exception& error) {
      throw FileError(
          fmt::format("--features: {} doesn't describe a feature network ({}): expected "
                      "name, dimension, digest and input (tools/README.md); {}",
                      description_path(path), error.what(), how_to_make));
    } catch (const c10::Error& error) {
      throw FileError(fmt::format("--features: {} can't be read as a TorchScript module ({}); {}",
                                  path, error.what_without_backtrace(), how_to_make));
    }
    const auto pinned = protocol_weights.find(protocol);
    if (pinned == protocol_weights.end() || pinned->second == network.digest_) return;
    throw Error(ExitCode::configuration,
                fmt::format("protocol {} means the network whose weights have the digest {}; {} "
                            "has {}: leave --features out, or name a protocol of your own "
                            "(--protocol NAME)",
                            protocol, pinned->second, path, network.digest_));
  });
  return network;
}

at::Tensor FeatureNetwork::features(const at::Tensor& states,
                                    const std::array<double, 2>& range) const {
  const double scale = (input_.range[1] - input_.range[0]) / (range[1] - range[0]);
  at::Tensor x = (states.clamp(range[0], range[1]) - range[0]) * scale + input_.range[0];
  x = x.expand({-1, input_.channels, -1, -1});
  if (x.size(2) != input_.height || x.size(3) != input_.width) {
    x = at::upsample_bilinear2d(x, {input_.height, input_.width}, /*align_corners=*/false);
  }
  const auto by_channel = [&](const std::vector<double>& numbers) {
    return at::tensor(numbers, x.options()).view({1, input_.channels, 1, 1});
  };
  x = (x - by_channel(input_.mean)) / by_channel(input_.deviation);
  // What TorchScript's optimiser makes of the code depends on earlier calls.
  const torch::jit::GraphOptimizerEnabledGuard not_optimized(false);
  return module_->script.forward({x.contiguous(at::MemoryFormat::ChannelsLast)})
      .toTensor()
      .to(at::kFloat);
}

}  // namespace stanley
