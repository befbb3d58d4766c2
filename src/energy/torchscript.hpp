#pragma once

#include <exception>
#include <memory>
#include <string>
#include <string_view>

#include "energy/network.hpp"

namespace stanley {

/// What LibTorch says went wrong with a module, in one line: below a failed operation stands its
/// traceback, and then what happened. Throws what is known as another kind of error: lack of
/// memory, a GPU that failed, an operation that doesn't repeat its bits.
std::string reason_of(const std::exception& error);

/// An energy of the user's own (`energy.type: torchscript`): a TorchScript module that maps states
/// [n, state shape] to energies [n] or [n, 1], given by the bytes of its `file`. Its parameters
/// that require gradients are learned, from the file's values; all its other tensors stay as they
/// are. It runs in eval mode, on any device and in any floating type that its code takes, and
/// without TorchScript's optimiser, which would change its rounding after the first calls.
/// `seed` is for spectral normalisation and for the states that the module is tried on.
/// Errors: input_output for a file that holds no module or one that is no energy: without
/// parameters in float32, of another output, not finite for states in the range, not a function of
/// each state alone;
/// configuration for a module that can't take states of this shape (or, from forward(), of this
/// type or device).
std::unique_ptr<Network> make_torchscript(const EnergyConfig& config, const StateShape& shape,
                                          std::uint32_t seed, std::string_view file,
                                          const StateRange& range);

}  // namespace stanley
