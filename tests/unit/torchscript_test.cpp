#include "energy/torchscript.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/jit/serialization/pickle.h>

#include <sstream>

#include "config/error.hpp"
#include "energy/weight_gradient.hpp"
#include "engines/factory.hpp"
#include "script_modules.hpp"
#include "unit/evaluated.hpp"

namespace stanley {
namespace {

std::string saved(const torch::jit::Module& module) {
  std::ostringstream bytes;
  module.save(bytes);
  return bytes.str();
}

std::unique_ptr<Network> network_of(const torch::jit::Module& module, const StateShape& shape,
                                    bool spectral_normalization = false) {
  return make_network({.type = EnergyType::torchscript,
                       .path = "energy.pt",
                       .spectral_normalization = spectral_normalization},
                      shape, 1, saved(module));
}

Result evaluate(const Network& network, const at::Tensor& state, Precision precision) {
  const auto engine =
      make_gradient_engine(network, {.type = EnergyType::torchscript}, precision, at::kCPU);
  engine->load(network.weights(network.parameter_values()));
  return evaluate(*engine, state);
}

at::Tensor states(std::int64_t n, const StateShape& shape) {
  std::vector<std::int64_t> sizes{n};
  sizes.insert(sizes.end(), shape.begin(), shape.end());
  return script_weights(sizes, 3).detach() * 2;
}

/// By LibTorch's autograd in double precision; the energy rounded once, to float32.
Result exact(const Network& network, const at::Tensor& state) {
  std::vector<at::Tensor> weights;
  for (const at::Tensor& one : network.parameter_values()) {
    weights.push_back(one.detach().to(at::kDouble));
  }
  const at::Tensor input = state.to(at::kDouble).set_requires_grad(true);
  const at::Tensor energy = network.forward(input, weights);
  return {energy.detach(), torch::autograd::grad({energy.sum()}, {input})[0]};
}

double relative_error(const at::Tensor& found, const at::Tensor& expected) {
  const at::Tensor wrong = (found - expected).to(at::kDouble);
  return (wrong.norm() / expected.to(at::kDouble).norm()).item<double>();
}

void expect_equal(const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) EXPECT_TRUE(at::equal(a[i], b[i])) << i;
}

std::vector<std::string> names_of(const std::vector<NamedTensor>& tensors) {
  std::vector<std::string> names;
  for (const NamedTensor& one : tensors) names.push_back(one.name);
  return names;
}

/// A network of ours, and the same as a module with the same names and values.
struct Twins {
  std::unique_ptr<Network> built_in, module;
};

Twins twins(const EnergyConfig& config, const StateShape& shape, const std::string& code) {
  Twins result{make_network(config, shape, 5), nullptr};
  std::vector<ScriptTensor> tensors;
  for (const NamedTensor& one : result.built_in->parameters()) {
    tensors.push_back({one.name, one.value});
  }
  result.module = network_of(script_module(tensors, code), shape, config.spectral_normalization);
  return result;
}

Twins mlps(bool spectral_normalization = false) {
  return twins({.type = EnergyType::mlp,
                .spectral_normalization = spectral_normalization,
                .hidden = {30, 20}},
               {3, 4, 5}, R"(
def forward(self, x):
    a, b, c = getattr(self.layers, "0"), getattr(self.layers, "1"), getattr(self.layers, "2")
    h = torch.silu(torch.linear(torch.flatten(x, 1), a.weight, a.bias))
    h = torch.silu(torch.linear(h, b.weight, b.bias))
    return torch.linear(h, c.weight, c.bias)
)");
}

Twins convnets() {
  return twins({.type = EnergyType::convnet, .channels = 4}, {3, 16, 16}, R"(
def forward(self, x):
    a, b, c = getattr(self.layers, "0"), getattr(self.layers, "1"), getattr(self.layers, "2")
    d, e = getattr(self.layers, "3"), getattr(self.layers, "4")
    h = torch.silu(torch.conv2d(x, a.weight, a.bias, 1, 1))
    h = torch.silu(torch.conv2d(h, b.weight, b.bias, 2, 1))
    h = torch.silu(torch.conv2d(h, c.weight, c.bias, 2, 1))
    h = torch.silu(torch.conv2d(h, d.weight, d.bias, 2, 1))
    return torch.flatten(torch.conv2d(h, e.weight, e.bias))
)");
}

TEST(TorchScript, HasTheFilesParameters) {
  const Twins mlp = mlps();
  EXPECT_EQ(names_of(mlp.module->parameters()), names_of(mlp.built_in->parameters()));
  expect_equal(mlp.module->parameter_values(), mlp.built_in->parameter_values());
  for (const NamedTensor& one : mlp.module->parameters()) {
    EXPECT_TRUE(one.value.is_leaf() && one.value.requires_grad());
    EXPECT_EQ(one.value.scalar_type(), at::kFloat);
  }
  EXPECT_TRUE(mlp.module->buffers().empty());
  EXPECT_FALSE(mlp.module->forward_flops().has_value());
  EXPECT_EQ(mlp.module->description(), "TorchScript energy.pt");
  EXPECT_EQ(make_autograd_engine(*mlp.module, Precision::bfloat16, at::kCPU)->description(),
            "autograd bfloat16, TorchScript energy.pt");
}

/// The same operations on the same numbers.
TEST(TorchScript, HasTheBitsOfTheSameNetworkOfOurs) {
  for (const Twins& pair : {mlps(), convnets()}) {
    const at::Tensor state = states(7, pair.module->state_shape());
    for (const Precision precision : {Precision::float32, Precision::bfloat16}) {
      const auto ours = make_autograd_engine(*pair.built_in, precision, at::kCPU);
      ours->load(pair.built_in->parameter_values());
      const Result expected = evaluate(*ours, state);
      const Result found = evaluate(*pair.module, state, precision);
      EXPECT_TRUE(at::equal(found.energy, expected.energy));
      EXPECT_TRUE(at::equal(found.gradient, expected.gradient));
    }
  }
}

/// A sum of n products has a relative error of about √n·2^-24 (2^-9 in bfloat16) at most, and there
/// are about ten such sums one after the other.
TEST(TorchScript, IsExactButForRounding) {
  for (const Twins& pair : {mlps(), convnets()}) {
    const at::Tensor state = states(9, pair.module->state_shape());
    const Result expected = exact(*pair.built_in, state);
    for (const auto& [precision, bound] :
         {std::pair(Precision::float32, 2e-6), {Precision::bfloat16, 3e-2}}) {
      const Result found = evaluate(*pair.module, state, precision);
      EXPECT_LT(relative_error(found.energy, expected.energy), bound);
      EXPECT_LT(relative_error(found.gradient, expected.gradient), bound);
    }
    EXPECT_LT(relative_error(exact(*pair.module, state).gradient, expected.gradient), 1e-14);
  }
}

/// Its optimiser, which TorchScript would set to work after the first call, rounds otherwise.
TEST(TorchScript, WeightGradientIsThatOfTheSameNetworkOfOurs) {
  for (const Twins& pair : {mlps(), convnets()}) {
    const at::Tensor state = states(6, pair.module->state_shape());
    const at::Tensor constant = at::linspace(-1, 1, 6), slope = at::linspace(0.5, 0.1, 6);
    const auto gradients = [&](const Network& network, at::Tensor& energy) {
      const auto gradient = make_autograd_weight_gradient(network);
      gradient->load(network.parameter_values());
      return gradient->evaluate(state, constant, slope, energy);
    };
    at::Tensor found = at::empty({6}), expected = at::empty({6});
    expect_equal(gradients(*pair.module, found), gradients(*pair.built_in, expected));
    EXPECT_TRUE(at::equal(found, expected));
  }
}

TEST(TorchScript, ForwardIsAFunctionOfStateAndWeights) {
  const auto network = network_of(script_module("energy"), {2});
  const at::Tensor state = states(5, {2});
  const std::vector<at::Tensor> own = network->parameter_values();
  std::vector<at::Tensor> others;
  for (const at::Tensor& one : own) others.push_back(one.detach() * 1.5);
  const at::Tensor first = network->forward(state, own);
  const at::Tensor second = network->forward(state, others);
  EXPECT_FALSE(at::equal(first, second));
  EXPECT_TRUE(at::equal(network->forward(state, own), first));
  expect_equal(network->parameter_values(), own);
}

TEST(TorchScript, SpectralNormalizationIsThatOfOurs) {
  const Twins mlp = mlps(true);
  EXPECT_EQ(names_of(mlp.module->buffers()), names_of(mlp.built_in->buffers()));
  const auto weights = mlp.module->weights(mlp.module->parameter_values());
  for (std::size_t i = 0; i < weights.size(); i += 2) {
    const auto largest =
        std::get<1>(at::linalg_svd(weights[i].detach().to(at::kDouble), false))[0].item<double>();
    EXPECT_NEAR(largest, 1, 0.1);
  }
}

TEST(TorchScript, OutputMayBeAColumn) {
  const at::Tensor state = states(5, {2});
  const auto flat = network_of(script_module("energy"), {2});
  const auto column = network_of(script_module("column"), {2});
  const at::Tensor energy = column->forward(state, column->parameter_values());
  EXPECT_EQ(energy.sizes().vec(), std::vector<std::int64_t>{5});
  EXPECT_TRUE(at::equal(energy, flat->forward(state, flat->parameter_values())));
}

/// Buffers, plain attributes and parameters without a gradient.
TEST(TorchScript, WhatDoesNotLearnFollowsTheWeights) {
  const at::Tensor frozen = at::tensor({0.5F, 0.25F, 0.125F});
  const auto network =
      network_of(script_module({{"w", script_weights({3})},
                                {"inner.frozen", frozen},
                                {"inner.scale", at::tensor({2.0}, at::kDouble), false},
                                {"order", at::tensor({2, 0, 1}, at::kLong), false}},
                               R"(
def forward(self, x):
    assert self.inner.frozen.dtype == x.dtype and self.inner.scale.dtype == x.dtype
    return (x[:, self.order] * self.inner.frozen * self.inner.scale) @ self.w
)"),
                 {3});
  EXPECT_EQ(names_of(network->parameters()), std::vector<std::string>{"w"});
  const at::Tensor state = states(4, {3});
  const at::Tensor picked =
      at::stack({state.select(1, 2), state.select(1, 0), state.select(1, 1)}, 1);
  const at::Tensor expected = (picked * frozen * 2).matmul(script_weights({3}).detach());
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16, at::kDouble, at::kFloat}) {
    const std::vector<at::Tensor> weights{network->parameter_values()[0].detach().to(type)};
    EXPECT_LT(relative_error(network->forward(state.to(type), weights), expected),
              type == at::kBFloat16 ? 2e-2 : 1e-6);
  }
}

/// However deep they lie in lists, dictionaries and tuples.
TEST(TorchScript, TensorsInContainersFollowTheWeightsToo) {
  const auto add = [](torch::jit::Module& module) {
    c10::List<at::Tensor> list;
    list.push_back(at::tensor({2.0F, 3.0F}));
    list.push_back(at::tensor({5.0}, at::kDouble));
    c10::Dict<std::string, c10::List<at::Tensor>> nested;
    nested.insert("deep", c10::List<at::Tensor>({at::tensor({7.0F})}));
    module.register_attribute("list", c10::ListType::ofTensors(), list);
    module.register_attribute(
        "nested", c10::DictType::create(c10::StringType::get(), c10::ListType::ofTensors()),
        nested);
    module.register_attribute("pair",
                              c10::TupleType::create({c10::TensorType::get(), c10::IntType::get()}),
                              c10::ivalue::Tuple::create(at::tensor({11.0F}), 2));
    module.register_attribute("maybe", c10::OptionalType::ofTensor(), at::tensor({13.0F}));
  };
  const auto network = network_of(script_module({{"w", at::ones({2}).requires_grad_()}}, R"(
def forward(self, x):
    maybe = self.maybe
    assert maybe is not None
    for one in [self.list[0], self.list[1], self.nested["deep"][0], self.pair[0], maybe]:
        assert one.dtype == x.dtype
    return (x * self.w * self.list[0]).sum(1) * self.list[1] * self.nested["deep"][0] * self.pair[0] * maybe
)",
                                                add),
                                  {2});
  EXPECT_EQ(names_of(network->parameters()), std::vector<std::string>{"w"});
  for (const at::ScalarType type : {at::kFloat, at::kDouble, at::kBFloat16}) {
    const std::vector<at::Tensor> weights{at::ones({2}, type)};
    const at::Tensor energy = network->forward(at::ones({1, 2}, type), weights);
    EXPECT_NEAR(energy.item<float>(), 25025, type == at::kBFloat16 ? 400 : 0);
  }
}

TEST(TorchScript, SharedWeightsAreOneParameter) {
  const at::Tensor shared = script_weights({2});
  const auto network =
      network_of(script_module({{"one.weight", shared}, {"two.weight", shared}},
                               "def forward(self, x):\n"
                               "    return (x * self.one.weight * self.two.weight).sum(1)\n"),
                 {2});
  ASSERT_EQ(names_of(network->parameters()), std::vector<std::string>{"one.weight"});
  const at::Tensor weight = at::tensor({3.0F, 5.0F});
  EXPECT_EQ(network->forward(at::ones({1, 2}), {weight}).item<float>(), 34);
}

TEST(TorchScript, WeightsThatNothingUsesHaveGradientZero) {
  const auto network = network_of(
      script_mlp("    return torch.flatten(energy)\n", 0, {{"spare", script_weights({3})}}), {2});
  const auto gradient = make_autograd_weight_gradient(*network);
  gradient->load(network->parameter_values());
  at::Tensor energy = at::empty({4});
  const auto found = gradient->evaluate(states(4, {2}), at::ones({4}), at::zeros({4}), energy);
  ASSERT_EQ(names_of(network->parameters()).front(), "spare");  // the module's own come first
  EXPECT_TRUE(at::equal(found.front(), at::zeros({3})));
  EXPECT_GT(found.back().abs().max().item<float>(), 0);
}

TEST(TorchScript, ALastLayerOfZerosIsAnEnergy) {
  std::vector<ScriptTensor> tensors{{"first", script_weights({8, 2})},
                                    {"second", at::zeros({8}).set_requires_grad(true)}};
  const auto energy = [&](const char* hidden) {
    return network_of(script_module(tensors, std::string("def forward(self, x):\n    return ") +
                                                 hidden + " @ self.second\n"),
                      {2});
  };
  const auto network = energy("torch.tanh(x @ self.first.t())");
  EXPECT_EQ(network->forward(states(1, {2}), network->parameter_values()).item<float>(), 0);
  // Zeros don't hide that it is none.
  EXPECT_THROW(energy("torch.tanh((x - x.mean(0)) @ self.first.t())"), Error);
}

TEST(TorchScript, ImagesComeInTheLayoutThatTheModuleTakes) {
  EXPECT_TRUE(convnets().module->channels_last());
  const auto views = network_of(
      script_module({{"w", script_weights({3 * 4 * 5})}},
                    "def forward(self, x):\n    return x.view(x.size(0), -1) @ self.w\n"),
      {3, 4, 5});
  EXPECT_FALSE(views->channels_last());
  const at::Tensor state = states(3, {3, 4, 5});
  const Result found = evaluate(*views, state, Precision::float32);
  EXPECT_LT(relative_error(found.gradient[2].flatten(), script_weights({60}).detach()), 1e-6);
}

/// Where all states of the run are positive.
TEST(TorchScript, StatesOfTheRangeNeedAnEnergy) {
  const std::string file = saved(script_module("of positive states"));
  const auto make = [&](const StateRange& range) {
    make_network({.type = EnergyType::torchscript, .path = "energy.pt"}, {2}, 1, file, range);
  };
  for (const StateRange& range : {StateRange{0, 1}, {0, 255}, {5, 6}}) EXPECT_NO_THROW(make(range));
  try {
    make({-1, 1});
    ADD_FAILURE() << "was taken";
  } catch (const Error& error) {
    EXPECT_EQ(error.code, ExitCode::input_output);
    EXPECT_NE(std::string(error.what()).find("in [-1, 1] is nan"), std::string::npos)
        << error.what();
  }
}

/// One channel is contiguous in both layouts, but only one of them has views.
TEST(TorchScript, ImagesOfOneChannelAreTaken) {
  const auto network = network_of(script_module("image"), {1, 8, 8});
  const at::Tensor state = states(3, {1, 8, 8});
  EXPECT_NO_THROW(evaluate(*network, state, Precision::float32));
  const auto gradient = make_autograd_weight_gradient(*network);
  gradient->load(network->parameter_values());
  at::Tensor energy = at::empty({3});
  EXPECT_NO_THROW(gradient->evaluate(state, at::ones({3}), at::zeros({3}), energy));
}

// --- what is no energy ---------------------------------------------------------------------------

struct Refusal {
  std::string kind;
  ExitCode code;
  std::vector<std::string> words;
};

void expect_refused(const std::string& file, const Refusal& expected) {
  SCOPED_TRACE(expected.kind);
  try {
    make_network({.type = EnergyType::torchscript, .path = "energy.pt"}, {2}, 1, file);
    ADD_FAILURE() << "was taken";
  } catch (const Error& error) {
    const std::string message = error.what();
    EXPECT_EQ(error.code, expected.code) << message;
    EXPECT_TRUE(message.starts_with("energy.path: ")) << message;
    for (const std::string& word : expected.words) {
      EXPECT_NE(message.find(word), std::string::npos) << message;
    }
    for (const char* word : {"\n", "Traceback", "Exception raised from", "frame #"}) {
      EXPECT_EQ(message.find(word), std::string::npos) << message;
    }
  }
}

TEST(TorchScriptRefusal, OfModulesThatAreNoEnergy) {
  constexpr ExitCode file = ExitCode::input_output, fit = ExitCode::configuration;
  const std::vector<Refusal> refusals{
      {"without forward", file, {"method forward"}},
      {"without parameters", file, {"none of its parameters learns", "requires_grad"}},
      {"double precision", file, {"'w'", "Double", "float32"}},
      {"two columns", file, {"[2, 2]", "Float", "[2, 1]"}},
      {"one for all", file, {"output is Float []", "[2]"}},
      {"boolean", file, {"Bool [2]", "floating-point"}},
      {"integer", file, {"Int"}},
      {"two results", file, {"Tuple"}},
      {"infinite", file, {"inf", "finite"}},
      {"centred", file, {"depends on the others in the batch"}},
      {"faintly centred", file, {"depends on the others in the batch"}},
      {"by batch size", file, {"depends on the others in the batch"}},
      {"batch norm", file, {"depends on the others in the batch", "batch normalisation"}},
      {"dropout", file, {"changes from call to call", "module.eval()"}},
      {"noisy", file, {"changes from call to call"}},
      {"counting", file, {"changes from call to call"}},
      {"counting calls", file, {"attribute 'calls'", "without memory"}},
      {"remembering", file, {"attribute 'seen'", "without memory"}},
      {"detached", file, {"no gradient"}},
      {"stateless", file, {"does not depend on the state"}},
      {"times zero", file, {"does not depend on the state"}},
      {"without weights", file, {"none of its parameters"}},
      {"asserts", fit, {"states of shape [2, 2]", "seven wanted", "takes [n, 2]"}},
      {"image", fit, {"states of shape [2, 2]"}}};
  for (const Refusal& one : refusals) {
    Refusal expected = one;
    expected.words.emplace_back("energy.pt");
    expect_refused(saved(script_module(one.kind)), expected);
  }
}

TEST(TorchScriptRefusal, OfFilesThatAreNoModule) {
  const std::string whole = saved(script_module("energy"));
  for (const std::string& bytes : {std::string(), std::string("hello\n"), whole.substr(0, 1000),
                                   whole.substr(0, whole.size() - 1)}) {
    expect_refused(bytes, {std::to_string(bytes.size()) + " bytes",
                           ExitCode::input_output,
                           {"energy.pt", "TorchScript module", ".save("}});
  }
}

TEST(TorchScriptRefusal, OfFilesThatTorchSaveWrote) {
  const std::vector<char> bytes = torch::jit::pickle_save(script_weights({2, 3}).detach());
  expect_refused({bytes.begin(), bytes.end()},
                 {"torch.save", ExitCode::input_output, {"holds no code", "torch.save", ".save("}});
}

TEST(TorchScriptRefusal, LackOfMemoryIsToldAsSuch) {
  try {
    network_of(script_module("greedy"), {2});
    ADD_FAILURE() << "was taken";
  } catch (const Error& error) {
    EXPECT_EQ(error.code, ExitCode::environment) << error.what();
  }
}

/// What LibTorch refuses on a GPU it refuses here too, for one operation at least.
TEST(TorchScriptRefusal, OfOperationsThatDoNotRepeatTheirBits) {
  const auto network = network_of(script_module("not repeatable on a GPU"), {2});
  EXPECT_NO_THROW(evaluate(*network, states(3, {2}), Precision::float32));
  at::globalContext().setDeterministicAlgorithms(true, false);
  try {
    evaluate(*network, states(3, {2}), Precision::float32);
    ADD_FAILURE() << "was taken";
  } catch (const Error& error) {
    const std::string message = error.what();
    EXPECT_EQ(error.code, ExitCode::configuration) << message;
    EXPECT_TRUE(message.starts_with("put_ ")) << message;
    EXPECT_NE(message.find("run.device"), std::string::npos) << message;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  }
  at::globalContext().setDeterministicAlgorithms(false, false);
}

/// Known only when it is first asked for it.
TEST(TorchScriptRefusal, OfATypeThatTheModuleCannotTake) {
  const auto network = network_of(script_module("single precision"), {2});
  EXPECT_NO_THROW(evaluate(*network, states(3, {2}), Precision::float32));
  try {
    evaluate(*network, states(3, {2}), Precision::bfloat16);
    ADD_FAILURE() << "was taken";
  } catch (const Error& error) {
    const std::string message = error.what();
    EXPECT_EQ(error.code, ExitCode::configuration);
    for (const char* word : {"energy.pt", "BFloat16", "run.precision to float32"}) {
      EXPECT_NE(message.find(word), std::string::npos) << message;
    }
  }
}

}  // namespace
}  // namespace stanley
