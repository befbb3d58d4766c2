#include "energy/torchscript.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/script.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <mutex>
#include <sstream>
#include <utility>

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

/// Lack of memory, a GPU that failed, an operation that doesn't repeat its bits.
void throw_if_known(const std::exception& error) {
  const Error told = as_error(error);
  if (told.code != ExitCode::bug) throw told;
}

}  // namespace

std::string reason_of(const std::exception& error) {
  throw_if_known(error);
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
  throw_if_known(std::runtime_error(text));
  while (text.ends_with('.') || text.ends_with(' ')) text.pop_back();
  return text;
}

namespace {

/// The same numbers in the same memory: weights that two layers share.
bool same_memory(const at::Tensor& a, const at::Tensor& b) {
  return a.is_alias_of(b) && a.storage_offset() == b.storage_offset() && a.sizes() == b.sizes() &&
         a.strides() == b.strides();
}

/// Puts a value where another one was found.
using Put = std::function<void(const c10::IValue&)>;

/// Some tensors of a module, each with all the places where the module keeps it.
class TensorSlots {
 public:
  void add(const std::string& name, const at::Tensor& value, const Put& put) {
    const auto known = std::ranges::find_if(
        tensors_, [&](const NamedTensor& one) { return same_memory(one.value, value); });
    slots_.push_back({put, static_cast<std::size_t>(known - tensors_.begin())});
    if (known == tensors_.end()) tensors_.push_back({name, value});
  }

  const std::vector<NamedTensor>& tensors() const { return tensors_; }

  void put(const std::vector<at::Tensor>& values) const {
    for (const Slot& slot : slots_) slot.put(values[slot.tensor]);
  }

 private:
  struct Slot {
    Put put;
    std::size_t tensor;
  };
  std::vector<NamedTensor> tensors_;
  std::vector<Slot> slots_;
};

/// Calls visit(name, value, put) for each value in a list, dictionary, tuple or object; false if it
/// is none of these.
template <typename Visit>
bool for_each_part(const c10::IValue& whole, const Visit& visit) {
  if (whole.isList()) {
    const auto list = whole.toList();
    for (std::size_t i = 0; i < list.size(); ++i) {
      visit(std::to_string(i), list.get(i),
            [list, i](const c10::IValue& value) { list.set(i, value); });
    }
  } else if (whole.isGenericDict()) {
    const auto dictionary = whole.toGenericDict();
    for (const auto& entry : dictionary) {
      const c10::IValue key = entry.key();
      visit(
          key.isString() ? key.toStringRef() : key.tagKind(), entry.value(),
          [dictionary, key](const c10::IValue& value) { dictionary.insert_or_assign(key, value); });
    }
  } else if (whole.isTuple()) {
    const auto tuple = whole.toTuple();
    for (std::size_t i = 0; i < tuple->size(); ++i) {
      visit(std::to_string(i), tuple->elements()[i],
            [tuple, i](const c10::IValue& value) { tuple->unsafeSetElement(i, value); });
    }
  } else if (whole.isObject()) {
    const auto object = whole.toObject();
    for (std::size_t i = 0; i < object->type()->numAttributes(); ++i) {
      visit(object->type()->getAttributeName(i), object->getSlot(i),
            [object, i](const c10::IValue& value) { object->setSlot(i, value); });
    }
  } else {
    return false;
  }
  return true;
}

/// A text for each value that a module may remember something by: its numbers bit for bit, and the
/// tensors in it by their places in memory. Of what holds itself, one round.
std::string fingerprint(const c10::IValue& value, std::vector<const void*> around = {}) {
  std::ostringstream text;
  if (value.isTensor()) {
    text << value.toTensor().unsafeGetTensorImpl();
  } else if (value.isDouble()) {
    text << std::hexfloat << value.toDouble();
  } else if (value.isInt() || value.isBool() || value.isString() || value.isDevice()) {
    text << value;
  } else if (!value.isPtrType() ||
             std::find(around.begin(), around.end(), value.internalToPointer()) != around.end()) {
    text << value.tagKind();
  } else {
    around.push_back(value.internalToPointer());
    for_each_part(value, [&](const std::string& name, const c10::IValue& part, const Put&) {
      text << name << ' ' << fingerprint(part, around) << '\n';
    });
  }
  return text.str();
}

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
                     std::string_view file, const StateRange& range)
      : Network(shape), path_(config.path), module_(load_module(config.path, file)) {
    find_tensors();
    if (config.spectral_normalization) normalize_spectrally(seed);
    check(seed, range);
  }

  at::Tensor forward(const Points& points, const std::vector<at::Tensor>& weights) const override {
    const at::Tensor& state = points.state;
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
        const std::string name = (prefix.empty() ? "" : prefix + ".") + type->getAttributeName(i);
        const Put put = [object, i](const c10::IValue& other) { object->setSlot(i, other); };
        if (type->is_parameter(i) && value.isTensor() && value.toTensor().requires_grad()) {
          learned_.add(name, value.toTensor(), put);
        } else {
          find_constants(name, value, put, {});
        }
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

  /// Those in an attribute that is no module, however deep; `around` holds what it lies in.
  void find_constants(const std::string& name, const c10::IValue& value, const Put& put,
                      std::vector<const void*> around) {
    if (value.isTensor()) {
      if (value.toTensor().defined()) constants_.add(name, value.toTensor(), put);
      return;
    }
    if (!value.isPtrType() || value.isModule()) return;
    const void* const place = value.internalToPointer();
    if (std::find(around.begin(), around.end(), place) != around.end()) return;
    around.push_back(place);
    for_each_part(value,
                  [&](const std::string& part_name, const c10::IValue& part, const Put& put_part) {
                    find_constants(name + "." + part_name, part, put_part, around);
                  });
  }

  /// The tensors that don't learn as the weights are: floating ones in their type, all on their
  /// device.
  const std::vector<at::Tensor>& constants_like(const at::Tensor& weight) const {
    const auto known = std::ranges::find_if(constant_copies_, [&](const Constants& one) {
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
    put(weights);
    return call(state);
  }

  void put(const std::vector<at::Tensor>& weights) const {
    learned_.put(weights);
    constants_.put(constants_like(weights.front()));
  }

  c10::IValue call(const at::Tensor& state) const {
    // What TorchScript's optimiser makes of the code, and so the rounding, depends on earlier
    // calls.
    const torch::jit::GraphOptimizerEnabledGuard not_optimized(false);
    try {
      return module_.forward({state});
    } catch (const std::exception& error) {
      refuse_states(state, reason_of(error));
    }
  }

  [[noreturn]] void refuse_states(const at::Tensor& state, const std::string& reason) const {
    // LibTorch's words for `x *= 2` of a tensor whose gradient is wanted.
    if (reason.find("in-place operation") != std::string::npos) fail_in_place();
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

  /// Tries the module on some states of the range, and on two that are small where there are such:
  /// far out an energy may be flat.
  void check(std::uint32_t seed, const StateRange& range) {
    std::vector<std::int64_t> sizes = state_shape();
    sizes.insert(sizes.begin(), 16);
    const at::Tensor numbers = uniform({seed, random::Stream::initial_parameters, 2}, 0, sizes);
    const double low = std::max(range[0], 0.0), high = std::min(range[1], 1.0);
    const at::Tensor states =
        spread(numbers.narrow(0, 0, 2), low < high ? StateRange{low, high} : range);
    const c10::AutoGradMode with_gradient(true);
    std::vector<at::Tensor> values = weights(parameter_values());
    check_memory(states, values);
    check_finite(states, values, range);
    check_finite(spread(numbers, range), values, range);
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

  /// Numbers in (0, 1) as numbers in the range.
  static at::Tensor spread(const at::Tensor& numbers, const StateRange& range) {
    return numbers * (range[1] - range[0]) + range[0];
  }

  /// What a forward remembers is in no checkpoint and differs from rank to rank. Tensors of its own
  /// are put back before each call.
  void check_memory(const at::Tensor& states, const std::vector<at::Tensor>& values) const {
    const std::lock_guard lock(mutex_);
    put(values);
    const auto before = memory();
    for (const std::int64_t count : {states.size(0), std::int64_t{1}}) {
      call(states.narrow(0, 0, count).clone());
    }
    const auto after = memory();
    for (std::size_t i = 0; i < before.size(); ++i) {
      if (before[i] == after[i]) continue;
      fail("its forward changes its attribute '" + before[i].first +
           "': expected a function of states and parameters alone, without memory; leave out what "
           "changes it");
    }
  }

  /// The module's attributes, but for its modules and its tensors.
  std::vector<std::pair<std::string, std::string>> memory() const {
    std::vector<std::pair<std::string, std::string>> found;
    for (const auto& [prefix, module] : module_.named_modules()) {
      for (const auto& attribute : module.named_attributes(false)) {
        if (attribute.value.isModule()) continue;
        const std::string name = (prefix.empty() ? "" : prefix + ".") + attribute.name;
        found.emplace_back(name, attribute.value.isTensor() ? "" : fingerprint(attribute.value));
      }
    }
    return found;
  }

  void check_finite(const at::Tensor& probes, const std::vector<at::Tensor>& values,
                    const StateRange& range) const {
    const at::Tensor states = probes.clone();
    const at::Tensor energy = forward(states, values);
    if (!at::equal(states, probes)) fail_in_place();
    for (std::int64_t i = 0; i < energy.size(0); ++i) {
      const auto value = energy[i].item<float>();
      if (std::isfinite(value)) continue;
      std::ostringstream interval;
      interval << '[' << range[0] << ", " << range[1] << ']';
      fail("the energy of a state of numbers in " + interval.str() + " is " +
           std::to_string(value) +
           ": expected a finite number wherever chains and data may be; look at its code and its "
           "parameters' values, or change sampler.box and data.range");
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
                                          std::uint32_t seed, std::string_view file,
                                          const StateRange& range) {
  return std::make_unique<TorchScriptNetwork>(config, shape, seed, file, range);
}

}  // namespace stanley
