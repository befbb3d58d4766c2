#pragma once

#include "config/config.hpp"

namespace stanley {

// What kernels/chain_rules.hpp, Thermometer, adds up of each chain, as temperatures.

/// Sums over chains of two numbers that each of them has, a and b, and of their products.
struct RatioSums {
  double a = 0, b = 0, aa = 0, ab = 0, bb = 0;
};

/// A ratio Σa/Σb and its standard error over the chains, by the delta method:
/// error² = n/(n − 1)·Σ(a − ratio·b)² / (Σb)². It takes chains for independent.
struct Ratio {
  double value, error;
};

/// Both NaN where the mean of b is not beyond 5 of its own standard errors: such a quotient may be
/// anything. So for fewer than two chains.
Ratio ratio_over_chains(const RatioSums& sums, double chains);

/// Whether a chain step is small beside the box, where there is one: its root mean square over the
/// elements that are free to move, all but the share `saturation` that lies on the faces, is at
/// most a tenth of the half-width. What the thermometer leaves out, the next order of f, is then
/// some 3 % of a reading at most.
bool step_is_small(double step_length, double saturation, const SamplerConfig& config);

}  // namespace stanley
