#pragma once

#include <array>

namespace stanley {

/// The function f between the layers of a network.
enum class Activation { silu, leaky_relu };
constexpr auto names_of(Activation) { return std::array{"silu", "leaky_relu"}; }

}  // namespace stanley
