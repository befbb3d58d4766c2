#pragma once

#include <memory>

#include "energy/network.hpp"

namespace stanley {

/// A multilayer perceptron over the flattened state: hidden layers of `energy.hidden` widths.
std::unique_ptr<Network> make_mlp(const EnergyConfig& config, const StateShape& shape,
                                  std::uint32_t seed);

/// The network of images that the plan describes.
std::unique_ptr<Network> make_planned(const EnergyConfig& config, const Plan& plan,
                                      std::uint32_t seed);

}  // namespace stanley
