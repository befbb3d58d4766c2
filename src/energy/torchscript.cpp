#include "energy/torchscript.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/script.h>

#include <algorithm>
#include <cmath>
#include <mutex>
#include <sstream>

#include "config/error.hpp"
#include "random/random.hpp"

namespace stanley {
namespace {

using ScriptModule = torch::jit::Module;

std::string shape_text(at::IntArrayRef shape) {
  std::ostringstream text;
  text << shape;
  return text.str();
}

void throw_if_out_of_memory(const std::exception& error) {
  const Error told = as_error(error);
  if (told.code == ExitCode::environment) throw told;
}

/// What LibTorch says went wrong, in one line: below a failed operation of a module stands its
/// traceback, and then what happened. Lack of memory is thrown as such.
std::string reason_of(const std::exception& error) {
  throw_if_out_of_memory(error);
  const auto* with_stack = dynamic_cast<const c10::Error*>(&error);
  std::string text = with_stack == nullptr ? error.what() : with_stack->what_without_backtrace();
  const std::string last = "\nRuntimeError: ";
  if (text.starts_with("The following operation failed in the TorchScript interpreter")) {
    const std::size_t begin = text.rfind(last);
    if (begin != std::string::npos) {
      text = text.substr(begin + last.size());
    } else {
      while (text.ends_with('\n')) text.pop_back();
      text = text.substr(text.rfind('\n') + 1);
    }
  }
  text.erase(0, text.find_first_not_of("\n "));
  text = text.substr(0, text.find('\n'));
  throw_if_out_of_memory(std::runtime_error(text));
  while (text.ends_with('.') || text.ends_with(' ')) text.pop_back();
  return text;
}

/// The same numbers in the same memory: weights that two layers share.
bool same_memory(const at::Tensor& a, const at::Tensor& b) {
  return a.is_alias_of(b) && a.storage_offset() == b.storage_offset() && a.sizes() == b.sizes() &&
         a.strides() == b.strides();
}

/// Some tensors of a module, each with all the places where the module keeps it.
class TensorSlots {
 public:
  void add(const std::string& name, const c10::intrusive_ptr<c10::ivalue::Object>& object,
           std::size_t attribute, const at::Tensor& value) {
    const auto known = std::find_if(tensors_.begin(), tensors_.end(), [&](const NamedTensor& one) {
      return same_memory(one.value, value);
    });
    slots_.push_back({object, attribute, static_cast<std::size_t>(known - tensors_.begin())});
    if (known == tensors_.end()) tensors_.push_back({name, value});
  }

  const std::vector<NamedTensor>& tensors() const { return tensors_; }

  void put(const std::vector<at::Tensor>& values) const {
    for (const Slot& slot : slots_) slot.object->setSlot(slot.attribute, values[slot.tensor]);
  }

 private:
  struct Slot {
    c10::intrusive_ptr<c10::ivalue::Object> object;
    std::size_t attribute, tensor;
  };
  std::vector<NamedTensor> tensors_;
  std::vector<Slot> slots_;
};

/// Throws Error(input_output) unless the bytes are a TorchScript module with a method forward.
ScriptModule load_module(const std::string& path, std::string_view file) {
  std::istringstream stream{std::string(file)};
  try {
    ScriptModule module = torch::jit::load(stream, at::kCPU);
    module.get_method("forward");
    module.eval();
    return module;
  } catch (const std::exception& error) {
    std::string reason = reason_of(error);
    // LibTorch calls such a file damaged.
    if (reason.find("locating file constants.pkl") != std::string::npos) {
      reason = "it holds no code: torch.save writes such files";
    }
    throw Error(ExitCode::input_output,
                "energy.path: expected a TorchScript module with a method forward, but " + path +
                    " can't be read as one (" + reason +
                    "); write it in Python with torch.jit.script(module).save(\"" + path + "\")");
  }
}

class TorchScriptNetwork : public Network {
 public:
  TorchScriptNetwork(const EnergyConfig& config, const StateShape& shape, std::uint32_t seed,
                     std::string_view file)
      : Network(shape), path_(config.path), module_(load_module(config.path, file)) {
    find_tensors();
    if (config.spectral_normalization) normalize_spectrally(seed);
    check(seed);
  }

  at::Tensor forward(const at::Tensor& state,
                     const std::vector<at::Tensor>& weights) const override {
    const at::Tensor energy = energies_of(run(state, weights), state);
    return energy.reshape({state.size(0)}).to(at::kFloat);
  }

  bool channels_last() const override { return channels_last_; }
  std::string description() const override { return "TorchScript " + path_; }

 private:
  void find_tensors() {
    for (const auto& [prefix, module] : module_.named_modules()) {
      const auto object = module._ivalue();
      const auto type = object->type();
      for (std::size_t i = 0; i < type->numAttributes(); ++i) {
        const c10::IValue value = object->getSlot(i);
        if (!value.isTensor() || !value.toTensor().defined()) continue;
        const std::string name = (prefix.empty() ? "" : prefix + ".") + type->getAttributeName(i);
        const bool learns = type->is_parameter(i) && value.toTensor().requires_grad();
        (learns ? learned_ : constants_).add(name, object, i, value.toTensor());
      }
    }
    for (const NamedTensor& one : learned_.tensors()) {
      if (one.value.scalar_type() != at::kFloat) {
        fail("its parameter '" + one.name + "' is of type " +
             c10::toString(one.value.scalar_type()) +
             ": expected float32; save the module after module.float()");
      }
      parameters().push_back({one.name, one.value.detach().clone().set_requires_grad(true)});
    }
    if (parameters().empty()) {
      fail(
          "none of its parameters learns: expected some torch.nn.Parameter with "
          "requires_grad=True; save the module before it is frozen");
    }
  }

  /// The tensors that don't learn as the weights are: floating ones in their type, all on their
  /// device.
  const std::vector<at::Tensor>& constants_like(const at::Tensor& weight) const {
    const auto known =
        std::find_if(constant_copies_.begin(), constant_copies_.end(), [&](const Constants& one) {
          return one.type == weight.scalar_type() && one.device == weight.device();
        });
    if (known != constant_copies_.end()) return known->values;
    const c10::NoGradGuard no_gradient;
    Constants copies{weight.scalar_type(), weight.device(), {}};
    for (const NamedTensor& one : constants_.tensors()) {
      const bool floating = one.value.is_floating_point();
      copies.values.push_back(one.value.detach().to(
          weight.device(), floating ? weight.scalar_type() : one.value.scalar_type(), false, true));
    }
    return constant_copies_.emplace_back(std::move(copies)).values;
  }

  c10::IValue run(const at::Tensor& state, const std::vector<at::Tensor>& weights) const {
    const std::lock_guard lock(mutex_);
    // What TorchScript's optimiser makes of the code, and so the rounding, depends on earlier
    // calls.
    const torch::jit::GraphOptimizerEnabledGuard not_optimized(false);
    learned_.put(weights);
    constants_.put(constants_like(weights.front()));
    try {
      return module_.forward({state});
    } catch (const std::exception& error) {
      refuse_states(state, reason_of(error));
    }
  }

  [[noreturn]] void refuse_states(const at::Tensor& state, const std::string& reason) const {
    refuse_in_place(reason);
    refuse_device(state, reason);
    const bool plain = state.scalar_type() == at::kFloat;
    throw Error(ExitCode::configuration,
                "energy.path: " + path_ + " can't compute energies of states of shape " +
                    shape_text(state.sizes()) + ", " + c10::toString(state.scalar_type()) + " on " +
                    state.device().str() + " (" + reason + "); expected a module that takes [n, " +
                    shape_text(state_shape()).substr(1) +
                    (plain ? ": change the module or the data"
                           : ": change the module, or set run.precision to float32"));
  }

  /// LibTorch's words for `x *= 2` of a tensor whose gradient is wanted.
  void refuse_in_place(const std::string& reason) const {
    if (reason.find("in-place operation") == std::string::npos) return;
    fail_in_place();
  }

  [[noreturn]] void fail_in_place() const {
    fail(
        "it changes the state that it is given: expected a forward that leaves its input as it is; "
        "write x = x * 2 where it says x *= 2 or x.mul_(2), or begin with x = x.clone()");
  }

  /// A device that stands in the code, by a trace on another one or device="cuda".
  void refuse_device(const at::Tensor& state, const std::string& reason) const {
    for (const char* words : {"same device", "devices", "CUDA", "MPS", "XPU", "HIP"}) {
      const bool of_the_device = state.is_cuda() && std::string_view(words) == "CUDA";
      if (of_the_device || reason.find(words) == std::string::npos) continue;
      throw Error(ExitCode::configuration,
                  "energy.path: " + path_ + " names a device in its code, and this run's is " +
                      state.device().str() +
                      ": create its tensors with device=x.device or keep them as buffers, and save "
                      "it by torch.jit.script or by a trace on that device");
    }
  }

  at::Tensor energies_of(const c10::IValue& result, const at::Tensor& state) const {
    const std::int64_t n = state.size(0);
    std::string found = "no tensor but " + result.tagKind();
    if (result.isTensor()) {
      const at::Tensor& energy = result.toTensor();
      const bool fits =
          energy.sizes() == at::IntArrayRef({n}) || energy.sizes() == at::IntArrayRef({n, 1});
      if (fits && energy.is_floating_point()) return energy;
      found = std::string(c10::toString(energy.scalar_type())) + " " + shape_text(energy.sizes());
    }
    fail("for states of shape " + shape_text(state.sizes()) + " its output is " + found +
         ": expected one floating-point energy for each state, of shape " + shape_text({n}) +
         " or " + shape_text({n, 1}));
  }

  [[noreturn]] void fail(const std::string& what) const {
    throw Error(ExitCode::input_output, "energy.path: " + path_ + " is no energy: " + what);
  }

  // --- is it an energy? --------------------------------------------------------------------------

  /// Tries the module on two states.
  void check(std::uint32_t seed) {
    std::vector<std::int64_t> sizes{2};
    sizes.insert(sizes.end(), state_shape().begin(), state_shape().end());
    // No number below 0, as not every energy takes them.
    const at::Tensor states = uniform({seed, random::Stream::initial_parameters, 2}, 0, sizes);
    const c10::AutoGradMode with_gradient(true);
    std::vector<at::Tensor> values = weights(parameter_values());
    check_finite(states, values);
    if (!check_dependence(states, values)) {
      // A last layer that starts at zero hides all that the energy will depend on.
      for (std::size_t i = 0; i < values.size(); ++i) {
        const at::Tensor change = uniform({seed, random::Stream::initial_parameters, 3},
                                          static_cast<std::uint32_t>(i), values[i].sizes());
        values[i] = values[i] + 0.2 * (change - 0.5);
      }
      if (!check_dependence(states, values)) {
        fail("its output does not depend on the state, so that chains have no gradient to follow");
      }
    }
    try_channels_last(states, weights(parameter_values()));
  }

  /// Numbers in [0, 1).
  static at::Tensor uniform(const random::Key& key, std::uint32_t id, at::IntArrayRef sizes) {
    at::Tensor values = at::empty(sizes, at::kFloat);
    auto* data = values.mutable_data_ptr<float>();
    for (std::int64_t i = 0; i < values.numel(); ++i) {
      data[i] = random::uniform(key, id, 0, static_cast<std::uint32_t>(i));
    }
    return values;
  }

  void check_finite(const at::Tensor& probes, const std::vector<at::Tensor>& values) const {
    const at::Tensor states = probes.clone();
    const at::Tensor energy = forward(states, values);
    if (!at::equal(states, probes)) fail_in_place();
    for (std::int64_t i = 0; i < energy.size(0); ++i) {
      const auto value = energy[i].item<float>();
      if (std::isfinite(value)) continue;
      fail("the energy of a state of numbers in [0, 1) is " + std::to_string(value) +
           ": expected a finite number; look at its parameters' values");
    }
  }

  /// Checks that each state has an energy of its own, and that it can be trained. Returns whether
  /// the energy's gradient differs from zero.
  bool check_dependence(const at::Tensor& probes, const std::vector<at::Tensor>& values) const {
    const auto versions = [&] {
      std::vector<std::int64_t> found;
      for (const at::Tensor& one : values) found.push_back(one._version());
      for (const at::Tensor& one : constants_like(values.front())) found.push_back(one._version());
      return found;
    };
    const std::vector<std::int64_t> before = versions();
    const at::Tensor states = probes.clone().set_requires_grad(true);
    const at::Tensor energy = forward(states, values);
    if (!at::equal(states, probes)) fail_in_place();
    if (versions() != before || !at::allclose(energy, forward(states, values), 0, 0, true)) {
      fail(
          "its output for the same states changes from call to call: expected a function of states "
          "and parameters alone; do without random numbers and memory, and call module.eval() "
          "before torch.jit.trace if the module has dropout");
    }
    const at::Tensor first = forward(states.narrow(0, 0, 1), values);
    const at::Tensor second = forward(states.narrow(0, 1, 1), values);
    const at::Tensor gradient = gradient_of_first(energy, states, values);
    if (!agrees(energy, at::cat({first, second})) || gradient[1].abs().max().item<float>() > 0) {
      fail(
          "the energy of one state depends on the others in the batch: expected energies that each "
          "state has alone; replace batch normalisation that uses the batch's statistics, or call "
          "module.eval() before torch.jit.trace");
    }
    return gradient[0].abs().max().item<float>() != 0;
  }

  /// Within rounding; not a number agrees with anything.
  static bool agrees(const at::Tensor& a, const at::Tensor& b) {
    const auto scale = at::maximum(a.abs().max(), b.abs().max()).item<float>();
    return !((a - b).abs().max().item<float>() > 1e-3F * scale + 1e-6F);
  }

  /// ∂E₀/∂states, [2, state shape].
  at::Tensor gradient_of_first(const at::Tensor& energy, const at::Tensor& states,
                               const std::vector<at::Tensor>& values) const {
    if (!energy.requires_grad()) {
      fail(
          "its output has no gradient: expected differentiable operations from the state and the "
          "parameters to the energy, without detach() or torch.no_grad()");
    }
    std::vector<at::Tensor> inputs{states};
    inputs.insert(inputs.end(), values.begin(), values.end());
    std::vector<at::Tensor> gradients;
    try {
      gradients = torch::autograd::grad({energy[0]}, inputs, {}, false, false, true);
    } catch (const std::exception& error) {
      refuse_states(states, reason_of(error));
    }
    if (!gradients[0].defined()) {
      fail("its output does not depend on the state, so that chains have no gradient to follow");
    }
    if (std::none_of(gradients.begin() + 1, gradients.end(),
                     [](const at::Tensor& one) { return one.defined(); })) {
      fail("its output depends on none of its parameters, so that there is nothing to train");
    }
    return gradients[0];
  }

  /// A view of an image's memory needs the plain layout; convolutions are faster in the other one.
  void try_channels_last(const at::Tensor& states, std::vector<at::Tensor> values) {
    const c10::NoGradGuard no_gradient;
    const at::Tensor plain = forward(states, values);
    channels_last_ = true;
    // Copies, as the engines make them: one channel alone is contiguous in both layouts.
    for (at::Tensor& one : values) one = one.clone(layout(one.dim()));
    try {
      channels_last_ = agrees(forward(states.clone(layout(states.dim())), values), plain);
    } catch (const Error&) {
      channels_last_ = false;
    }
  }

  /// Copies of the constants in the type and on the device of some weights.
  struct Constants {
    at::ScalarType type;
    at::Device device;
    std::vector<at::Tensor> values;
  };

  std::string path_;
  TensorSlots learned_, constants_;
  bool channels_last_ = false;
  // Weights are given to the module for each call: one at a time.
  mutable std::mutex mutex_;
  mutable ScriptModule module_;
  mutable std::vector<Constants> constant_copies_;
};

}  // namespace

std::unique_ptr<Network> make_torchscript(const EnergyConfig& config, const StateShape& shape,
                                          std::uint32_t seed, std::string_view file) {
  return std::make_unique<TorchScriptNetwork>(config, shape, seed, file);
}

}  // namespace stanley
