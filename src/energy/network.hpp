#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "config/config.hpp"
#include "energy/plan.hpp"

namespace stanley {

namespace random {
struct Key;
}

/// A tensor under the name that a PyTorch module of the same network gives it in its state dict.
struct NamedTensor {
  std::string name;
  at::Tensor value;
};

/// Where energies are asked for: states, and what the energy is conditioned on there.
struct Points {
  Points(at::Tensor states, at::Tensor conditions = {})  // NOLINT: mostly there are states alone
      : state(std::move(states)), condition(std::move(conditions)) {}

  at::Tensor state;      ///< [n, state shape]
  at::Tensor condition;  ///< [n] int64: a class, a level of noise; undefined: nothing
};

/// An energy E(x): a network from states to one number each. The network is a pure function of a
/// state and of weights, so that the same code serves training (leaf parameters), the chains
/// (frozen copies, perhaps in bfloat16) and the running average.
class Network {
 public:
  virtual ~Network() = default;

  /// The learned tensors, float32 leaves that require gradients, in state-dict order. There may be
  /// none: a target with a known answer.
  std::vector<NamedTensor>& parameters() { return parameters_; }
  const std::vector<NamedTensor>& parameters() const { return parameters_; }

  /// Tensors that are state but not learned: the left singular vectors of spectral normalisation.
  std::vector<NamedTensor>& buffers() { return buffers_; }
  const std::vector<NamedTensor>& buffers() const { return buffers_; }

  const StateShape& state_shape() const { return state_shape_; }

  /// The values of parameters(), in order.
  std::vector<at::Tensor> parameter_values() const;

  /// What forward() takes: the parameters, those under spectral normalisation divided by their
  /// largest singular value's estimate uᵀWv (Miyato et al., arXiv 1802.05957). Differentiable in
  /// `parameters`; u and v are constants. Compute it once for each weight update.
  std::vector<at::Tensor> weights(const std::vector<at::Tensor>& parameters) const;

  /// One power iteration for each normalised parameter; call it once after each weight update.
  void update_buffers();

  /// Energies of n states: [n, state shape] -> [n], float32. States and weights share one floating
  /// type and device.
  virtual at::Tensor forward(const Points& points,
                             const std::vector<at::Tensor>& weights) const = 0;

  /// Whether forward() wants a condition. Such a network has no plan.
  virtual bool conditional() const { return false; }

  /// Arithmetic of forward() for one state: two operations for each multiply-add of the linear and
  /// convolution layers. None: not known.
  std::optional<double> forward_flops() const { return forward_flops_; }

  /// Its layers, for engines that compute them one by one; null: only forward() knows them.
  virtual const Plan* plan() const { return nullptr; }

  /// Whether forward() also takes images and filters in channels-last layout.
  virtual bool channels_last() const { return true; }
  /// The layout in which forward() is best given tensors of so many dimensions.
  at::MemoryFormat layout(std::int64_t dimensions) const {
    return dimensions == 4 && channels_last() ? at::MemoryFormat::ChannelsLast
                                              : at::MemoryFormat::Contiguous;
  }

  /// In words, for the log, where the type does not say all: "TorchScript energy.pt". Else empty.
  virtual std::string description() const { return ""; }

 protected:
  /// `left_out`: layers before the first one of add_layer(), whose random numbers stay unused.
  explicit Network(StateShape shape, std::size_t left_out = 0)
      : state_shape_(std::move(shape)), left_out_(left_out) {}

  /// Appends a layer, which is applied at so many positions of the image: its weight of this shape
  /// and its bias, drawn from U(−1/√fan_in, 1/√fan_in), PyTorch's default for linear and
  /// convolution layers, by counter-based random numbers of `seed`.
  void add_layer(const std::string& name, const std::vector<std::int64_t>& weight,
                 std::int64_t positions, std::uint32_t seed);

  /// Puts every parameter of more than one dimension under spectral normalisation.
  void normalize_spectrally(std::uint32_t seed);

  /// Numbers in (0, 1), in float32.
  static at::Tensor uniform(const random::Key& key, std::uint32_t id, at::IntArrayRef shape);

 private:
  StateShape state_shape_;
  std::size_t left_out_;
  std::optional<double> forward_flops_;
  std::vector<NamedTensor> parameters_;
  std::vector<NamedTensor> buffers_;
  std::vector<std::size_t> normalized_;  // for each of buffers_, its place in parameters_
};

/// The interval that the numbers of states lie in: [low, high].
using StateRange = std::array<double, 2>;

/// Builds the network that the configuration names, on the CPU, initialised from `seed`; one of
/// type torchscript from the bytes of its `file`, which is tried on states in the range.
/// Errors: configuration, where the network does not fit the state's shape; input_output, where the
/// file is no energy.
std::unique_ptr<Network> make_network(const EnergyConfig& config, const StateShape& shape,
                                      std::uint32_t seed, std::string_view file = {},
                                      const StateRange& range = {0, 1});

}  // namespace stanley
