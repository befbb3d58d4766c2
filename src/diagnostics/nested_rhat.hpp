#pragma once

#include <cstdint>

#include "diagnostics/draws.hpp"

namespace stanley {

/// Nested R-hat of Margossian, Hoffman, Sountsov, Riou-Durand, Vehtari and Gelman, "Nested R-hat:
/// assessing the convergence of Markov chain Monte Carlo when running many short chains", Bayesian
/// Analysis 2024 (arXiv 2110.13017, definition 2.2), of the draws as they are, neither split nor
/// ranked. The chains are K super-chains of M chains, [super-chain][chain][draw]: chains of a
/// super-chain have a start in common. √(1 + B/W), with the variance B of the K means of
/// super-chains and W the mean over them of the variance of their M chains' means (0 for M = 1)
/// plus the mean variance within a chain (0 for N = 1). For M = 1 it is √(R̂² + 1/N), R̂ that of
/// whole chains.
///
/// NaN where a draw isn't finite, where K = 1, where M = N = 1, or where all draws are equal;
/// infinite where W is 0 and B isn't. Throws Error(bug) as check_shape(), or where K doesn't divide
/// the number of chains.
double nested_rhat(const ChainDraws& all, std::int64_t superchains);

/// Above it chains have not forgotten their starts: √(1.01² + 1/M). Means of M independent chains
/// of the law itself differ by B ≤ W/M on average, the more the fewer draws a chain has; what is
/// left may be as much as R-hat's 1.01.
double nested_rhat_limit(std::int64_t chains_per_superchain);

}  // namespace stanley
