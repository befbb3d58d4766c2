#pragma once

namespace stanley {

/// The number below which a standard normal one lies with probability p in (0, 1); relative error
/// about 1e-16 (Wichura, "Algorithm AS 241: the percentage points of the normal distribution",
/// Applied Statistics 37, 1988: PPND16).
double inverse_normal(double p);

/// Iₓ(a, b): the probability that a number of the law Beta(a, b) lies below x; a and b are 1 or
/// more. By the continued fraction of the NIST Digital Library of Mathematical Functions, 8.17.22.
double incomplete_beta(double x, double a, double b);

}  // namespace stanley
