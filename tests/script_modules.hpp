#pragma once

#include <ATen/ATen.h>
#include <torch/script.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace stanley {

/// A tensor of a TorchScript module; the name may lie in submodules: "layers.0.weight".
struct ScriptTensor {
  std::string name;
  at::Tensor value;
  bool parameter = true;
};

inline torch::jit::Module script_submodule(const std::shared_ptr<torch::jit::CompilationUnit>& unit,
                                           const std::string& path,
                                           const std::vector<ScriptTensor>& tensors) {
  torch::jit::Module module("Module" + std::to_string(std::hash<std::string>()(path)), unit, true);
  std::vector<std::string> done;
  for (const ScriptTensor& one : tensors) {
    if (!one.name.starts_with(path)) continue;
    const std::string rest = one.name.substr(path.size()), first = rest.substr(0, rest.find('.'));
    if (first == rest) {
      module.register_attribute(rest, at::TensorType::get(), one.value, one.parameter,
                                !one.parameter);
    } else if (std::find(done.begin(), done.end(), first) == done.end()) {
      done.push_back(first);
      module.register_module(first, script_submodule(unit, path + first + ".", tensors));
    }
  }
  return module;
}

/// Gives a module more attributes before its code is compiled.
using AddAttributes = std::function<void(torch::jit::Module&)>;

/// The module with these tensors and this code, as torch.jit.script would make it.
inline torch::jit::Module script_module(const std::vector<ScriptTensor>& tensors,
                                        const std::string& code, const AddAttributes& add = {}) {
  torch::jit::Module module =
      script_submodule(std::make_shared<torch::jit::CompilationUnit>(), "", tensors);
  if (add) add(module);
  module.define(code);
  return module;
}

/// Numbers that look random, of the size of a layer's first weights.
inline at::Tensor script_weights(at::IntArrayRef shape, double phase = 0) {
  std::int64_t count = 1;
  for (const std::int64_t extent : shape) count *= extent;
  const at::Tensor numbers = at::arange(count, at::kFloat);
  return at::sin(numbers * 12.9898 + 1 + phase).view(shape).mul(0.5).set_requires_grad(true);
}

/// A multilayer perceptron of 8 hidden units over states in the plane whose forward ends with
/// `result`, in which `energy` [n, 1], `hidden` [n, 8] and the state `x` [n, 2] are known.
inline torch::jit::Module script_mlp(const std::string& result, double phase = 0,
                                     const std::vector<ScriptTensor>& more = {},
                                     const AddAttributes& add = {}) {
  std::vector<ScriptTensor> tensors{{"first.weight", script_weights({8, 2}, phase)},
                                    {"first.bias", script_weights({8}, phase)},
                                    {"second.weight", script_weights({1, 8}, phase)},
                                    {"second.bias", script_weights({1}, phase)}};
  tensors.insert(tensors.end(), more.begin(), more.end());
  return script_module(tensors, R"(
def forward(self, x):
    hidden = torch.silu(torch.linear(torch.flatten(x, 1), self.first.weight, self.first.bias))
    energy = torch.linear(hidden, self.second.weight, self.second.bias)
)" + result,
                       add);
}

/// Modules for tests, good and bad, by name.
inline torch::jit::Module script_module(const std::string& kind) {
  const std::vector<std::pair<std::string, std::string>> results{
      {"energy", "    return torch.flatten(energy)\n"},
      {"column", "    return energy\n"},
      {"other code", "    return torch.flatten(energy + 0.01 * hidden.sum(1, True))\n"},
      {"two columns", "    return torch.cat([energy, energy], 1)\n"},
      {"one for all", "    return energy.sum()\n"},
      {"boolean", "    return torch.flatten(energy > 0)\n"},
      {"integer", "    return 3\n"},
      {"two results", "    return (torch.flatten(energy), hidden)\n"},
      {"infinite", "    return torch.flatten(energy) / 0.0\n"},
      {"centred", "    return torch.flatten(energy - energy.mean())\n"},
      {"faintly centred", "    return torch.flatten(energy - 1e-5 * energy.mean())\n"},
      {"by batch size", "    return torch.flatten(energy) / x.size(0)\n"},
      {"batch norm",
       "    return torch.flatten(torch.batch_norm(hidden, None, None, None, None, True, 0.1, 1e-5, "
       "False).square().sum(1))\n"},
      {"dropout",
       "    return torch.flatten(energy * torch.dropout(hidden, 0.5, True).sum(1, True))\n"},
      {"noisy", "    return torch.flatten(energy) + 1e-6 * torch.rand(x.size(0))\n"},
      {"greedy",
       "    return torch.flatten(energy) + torch.zeros([1000000, 1000000, 1000]).sum()\n"},
      {"of positive states", "    return torch.flatten(energy) + torch.log(x).sum(1)\n"},
      {"steep at the edge", "    return torch.flatten(energy) + 9 * torch.sqrt(x + 1).sum(1)\n"},
      {"not repeatable on a GPU",
       "    zeros = torch.zeros([3], device=x.device)\n"
       "    return torch.flatten(energy) + torch.put(zeros, torch.zeros([1], dtype=4), "
       "torch.zeros([1])).sum()\n"},
      {"detached", "    return torch.flatten(energy).detach()\n"},
      {"stateless", "    return self.second.bias.expand(x.size(0))\n"},
      {"times zero", "    return torch.flatten(energy) * 0\n"},
      {"without weights", "    return (x * x).sum(1)\n"},
      {"asserts", "    assert x.size(1) == 7, 'seven wanted'\n    return torch.flatten(energy)\n"},
      {"in place", "    x *= 2\n    return torch.flatten(energy) + x.sum(1)\n"},
      {"in place, detached", "    x.detach().clamp_(0, 0.5)\n    return torch.flatten(energy)\n"},
      {"in place on a part", "    x[:, 0] = 0\n    return torch.flatten(energy) + x.sum(1)\n"},
      {"on a GPU",
       "    return torch.flatten(energy) + torch.zeros([2], "
       "device=torch.device('cuda:0')).sum()\n"},
      {"moved to a GPU", "    return torch.flatten(energy.to(torch.device('cuda:0')))\n"},
      {"single precision", "    return torch.flatten(energy) + x @ torch.ones(2, dtype=6)\n"},
  };
  for (const auto& [name, result] : results) {
    if (name == kind) return script_mlp(result);
  }
  const std::string energy = results.front().second;
  if (kind == "other weights") return script_mlp(energy, 0.5);
  if (kind == "without parameters") {
    return script_module(std::vector<ScriptTensor>{},
                         "def forward(self, x):\n    return (x * x).sum(1)\n");
  }
  if (kind == "gaussian") {
    return script_module({{"scale", at::ones({1}).set_requires_grad(true)}},
                         "def forward(self, x):\n    return (x * x).sum(1) * self.scale\n");
  }
  if (kind == "without forward") {
    return script_module({{"w", script_weights({2})}},
                         "def energy(self, x):\n    return x @ self.w\n");
  }
  if (kind == "double precision") {
    return script_module({{"w", at::ones({2}, at::kDouble).set_requires_grad(true)}},
                         "def forward(self, x):\n    return x.to(dtype=7) @ self.w\n");
  }
  if (kind == "counting") {
    return script_mlp("    self.count.add_(1)\n" + energy, 0, {{"count", at::zeros({}), false}});
  }
  if (kind == "counting calls" || kind == "remembering") {
    return script_mlp(
        kind == "remembering" ? "    self.seen.append(x)\n" + energy
                              : "    self.calls += 1\n    return torch.flatten(energy) * (1.0 + "
                                "1e-12 * self.calls)\n",
        0, {}, [&](torch::jit::Module& one) {
          one.register_attribute("calls", c10::IntType::get(), 0);
          one.register_attribute("seen", c10::ListType::ofTensors(), c10::List<at::Tensor>());
        });
  }
  if (kind == "image") {  // a view, as many write it, needs the plain memory layout
    return script_module({{"filter", script_weights({4, 1, 3, 3})},
                          {"bias", script_weights({4})},
                          {"output", script_weights({4 * 36})}},
                         R"(
def forward(self, x):
    hidden = torch.silu(torch.conv2d(x, self.filter, self.bias))
    return hidden.view(x.size(0), -1) @ self.output
)");
  }
  if (kind == "features" || kind == "other features") {  // of images, for stanley evaluate
    return script_module({{"filter", script_weights({6, 3, 3, 3}, kind == "features" ? 0 : 1)}},
                         R"(
def forward(self, x):
    return torch.mean(torch.relu(torch.conv2d(x, self.filter)), [2, 3])
)");
  }
  const std::vector<std::pair<std::string, std::string>> features{
      {"greatest features", "torch.amax(made, [2, 3])"},
      {"noisy features", "torch.mean(made, [2, 3]) + 1e-6 * torch.rand([x.size(0), 6])"},
      {"counting features", "torch.mean(made, [2, 3]) + self.count.add_(1)"},
      {"centred features", "torch.mean(made - torch.mean(made), [2, 3])"}};
  for (const auto& [name, result] : features) {
    if (name != kind) continue;
    std::vector<ScriptTensor> tensors{{"filter", script_weights({6, 3, 3, 3})}};
    if (kind == "counting features") tensors.push_back({"count", at::zeros({}), false});
    return script_module(
        tensors,
        "def forward(self, x):\n    made = torch.relu(torch.conv2d(x, self.filter))\n    return " +
            result + "\n");
  }
  if (kind == "features of one image") {
    return script_module({{"filter", script_weights({6, 3, 3, 3})}}, R"(
def forward(self, x):
    assert x.size(0) == 1, 'one wanted'
    return torch.mean(torch.relu(torch.conv2d(x, self.filter)), [2, 3])
)");
  }
  if (kind == "pixels") {  // what reaches a feature network is its features
    return script_module(std::vector<ScriptTensor>{},
                         "def forward(self, x):\n    return torch.flatten(x, 1)\n");
  }
  if (kind == "classifier" ||
      kind == "classifier without numbers") {  // of 8×8 pixels: its features are four of them, and
                                               // so its classes
    return script_module({{"scale", at::full({4}, kind == "classifier" ? 3.0F : NAN)}}, R"(
def forward(self, x):
    return torch.flatten(torch.upsample_nearest2d(x, [2, 2]), 1)

def logits(self, features):
    return features * self.scale
)");
  }
  throw std::invalid_argument("no module is called " + kind);
}

}  // namespace stanley
