#include "evaluation/feature_network.hpp"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <c10/util/accumulate.h>
#include <caffe2/serialize/inline_container.h>
#include <fmt/format.h>
#include <torch/script.h>

#include <algorithm>
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
  std::string weights, code;  ///< their digests; empty: any
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
     {"9f577448e7be9161",
      "cfa55c9345b10180",
      {3, 128, 128, {0, 1}, {0.485, 0.456, 0.406}, {0.229, 0.224, 0.225}}}},
    {"tensorflow", {"", "", inception_input({0, 255}, 128, 128, Resize::bilinear_tensorflow1)}},
    {"pytorch-fid", {"", "", inception_input({0, 1}, 0.5, 0.5, Resize::bilinear)}},
    {"clean-fid", {"", "", inception_input({0, 255}, 128, 128, Resize::bicubic_antialias)}}};

constexpr std::int64_t most_features = 1048576;
constexpr std::int64_t tried_at_once = 8;  // as many images as features are made of at once

const char* how_to_make(const std::string& option) {
  return option == "--classifier"
             ? "tools/train_classifier.py makes one from a labelled data file"
             : "tools/setup.sh --evaluate makes .data/features/efficientnet-lite0.pt";
}

std::string description_path(const std::string& module) {
  return std::filesystem::path(module).replace_extension(".json").string();
}

std::string read_or_refuse(const std::string& path, const std::string& option) {
  std::optional<std::string> bytes = read_file(path);
  if (bytes) return *std::move(bytes);
  throw FileError(
      fmt::format("{}: {} can't be read ({}): expected a TorchScript module "
                  "and a description beside it, {}; {}",
                  option, path, std::strerror(errno), description_path(path), how_to_make(option)));
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

/// Of the images that it is tried on.
void require_shape(const at::Tensor& made, const char* what, std::int64_t numbers) {
  if (made.sizes() == at::IntArrayRef({tried_at_once, numbers})) return;
  throw FileError(fmt::format("of {0} images it makes {1} of shape {2}, not ({0}, {3})",
                              tried_at_once, what, shape_text(made.sizes().vec()), numbers));
}

at::Tensor real_numbers(const c10::IValue& made, const char* what) {
  if (made.isTensor() && !made.toTensor().is_complex()) return made.toTensor().to(at::kFloat);
  throw FileError(fmt::format("its {} is no tensor of real numbers", what));
}

/// Whether a member of a module's file computes: beside code and values it has places in source
/// files, the inputs of a trace, and what says how and when it was written.
bool computes(const std::string& member) {
  return !member.ends_with(".debug_pkl") && !member.starts_with("traced_inputs") &&
         !member.starts_with(".data/") && member != "version" && member != "byteorder";
}

/// What the call makes; what a module threw is an error of its file.
template <typename Call>
at::Tensor or_refuse(const std::string& path, const char* what, const Call& call) {
  try {
    return call();
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {
    throw FileError(fmt::format("{} can't make {} ({})", path, what, reason_of(error)));
  }
}

/// Of all that computes, in the order of the members' names, each name and its bytes.
std::string digest_of_code(const std::string& bytes) {
  std::istringstream stream(bytes);
  caffe2::serialize::PyTorchStreamReader reader(&stream);
  std::vector<std::string> members = reader.getAllRecords();
  std::erase_if(members, [](const std::string& member) { return !computes(member); });
  std::ranges::sort(members);
  std::string all;
  for (const std::string& member : members) {
    const auto [data, size] = reader.getRecord(member);
    all += fmt::format("{}{}{}{}", member, '\0', size, '\0');
    all.append(static_cast<const char*>(data.get()), size);
  }
  return digest_text(all);
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
                      option, json, error.what(), how_to_make(option)));
    } catch (const FileError& error) {
      throw FileError(fmt::format("{}: {} and {} don't fit: {}; {}", option, path, json,
                                  error.what(), how_to_make(option)));
    } catch (const std::exception& error) {
      throw FileError(
          fmt::format("{}: {} is no TorchScript module that takes the input of "
                      "{} ({}); {}",
                      option, path, json, reason_of(error), how_to_make(option)));
    }
    network.check_protocol(protocol, option);
  });
  return network;
}

void FeatureNetwork::read(const std::string& bytes, const std::string& text) {
  const auto description = nlohmann::json::parse(text);
  require_known_keys(description,
                     {"name", "source", "dimension", "digest", "classes", "accuracy", "input"});
  name_ = description.at("name").get<std::string>();
  dimension_ = whole_number(description, "dimension", 1, most_features);
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
  code_digest_ = digest_of_code(bytes);
  identity_ = digest_text(bytes + text);
  classes_ = description.value("classes", std::vector<std::string>());
  if (!classes_.empty() && !module.find_method("logits")) {
    throw FileError("it has classes, and the module no method logits(features)");
  }
  std::vector<std::string> kept;  // beside forward
  if (!classes_.empty()) kept.emplace_back("logits");
  module_ = std::make_unique<Module>(module.hasattr("training") ? torch::jit::freeze(module, kept)
                                                                : module);  // else it is frozen
  try_out();
}

/// Makes features of several images twice: the first image is the same, the others are not.
void FeatureNetwork::try_out() const {
  const std::vector<std::int64_t> shape{tried_at_once, input_.channels, input_.height,
                                        input_.width};
  const at::Tensor images = at::arange(c10::multiply_integers(shape), at::kFloat).sin().view(shape);
  const at::Tensor made = forward(images);
  require_shape(made, "an output", dimension_);
  const at::Tensor again = forward(images.narrow(0, 0, 1).repeat({tried_at_once, 1, 1, 1}));
  const auto require_same = [](const at::Tensor& a, const at::Tensor& b, const char* what) {
    if (at::allclose(a[0], b[0], /*rtol=*/0, /*atol=*/0, /*equal_nan=*/true)) return;
    throw FileError(fmt::format(
        "its {} of an image change from call to call, or with the other images of a batch: "
        "expected a function of each image alone; do without random numbers and memory, and call "
        "eval() before torch.jit.trace",
        what));
  };
  require_same(made, again, "features");
  if (classes_.empty()) return;
  const at::Tensor seen = forward_logits(made);
  require_shape(seen, "logits", static_cast<std::int64_t>(classes_.size()));
  require_same(seen, forward_logits(again), "logits");
  if (seen.isfinite().all().item<bool>()) return;
  throw FileError("its logits of some images are not all finite numbers");
}

bool is_pinned(const std::string& protocol) { return pinned_protocols.contains(protocol); }

bool FeatureNetwork::is_public() const {
  const Pinned& pinned = pinned_protocols.at("public");
  return pinned.weights == digest_ && pinned.code == code_digest_ && pinned.input == input_;
}

void FeatureNetwork::check_protocol(const std::string& protocol, const std::string& option) const {
  const auto found = pinned_protocols.find(protocol);
  if (found == pinned_protocols.end()) return;
  const Pinned& pinned = found->second;
  const auto is_other = [](const std::string& meant, const std::string& own) {
    return !meant.empty() && meant != own;
  };
  const auto digests = [&](const char* what, const std::string& meant, const std::string& own) {
    return fmt::format("{} with the digest {}, and {} has {}", what, meant, path_, own);
  };
  std::string differs;
  if (is_other(pinned.weights, digest_)) {
    differs = digests("weights", pinned.weights, digest_);
  } else if (is_other(pinned.code, code_digest_)) {
    differs = digests("code", pinned.code, code_digest_);
  } else if (pinned.input != input_) {
    differs = "another input";
  } else {
    return;
  }
  throw Error(ExitCode::configuration,
              fmt::format("protocol {} means {}: leave {} out, or name a protocol of your own "
                          "(--protocol NAME); {}",
                          protocol, differs, option, how_to_make(option)));
}

at::Tensor FeatureNetwork::forward(const at::Tensor& images) const {
  const c10::InferenceMode no_gradient;
  // What TorchScript's optimiser makes of the code depends on earlier calls.
  const torch::jit::GraphOptimizerEnabledGuard not_optimized(false);
  const c10::IValue output =
      module_->script.forward({images.contiguous(at::MemoryFormat::ChannelsLast)});
  return real_numbers(output, "output");
}

at::Tensor FeatureNetwork::logits(const at::Tensor& features) const {
  return or_refuse(path_, "logits of features", [&] { return forward_logits(features); });
}

at::Tensor FeatureNetwork::forward_logits(const at::Tensor& features) const {
  const c10::InferenceMode no_gradient;
  const torch::jit::GraphOptimizerEnabledGuard not_optimized(false);
  const c10::IValue output = module_->script.get_method("logits")({features.to(at::kFloat)});
  return real_numbers(output, "result of logits");
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
  return or_refuse(path_, "features of images", [&] { return forward(x); });
}

}  // namespace stanley
