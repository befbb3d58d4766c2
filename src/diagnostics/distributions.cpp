#include "diagnostics/distributions.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace stanley {
namespace {

/// Numerator and denominator, lowest power first.
struct Rational {
  std::array<double, 8> above, below;

  double operator()(double x) const {
    double a = above.back(), b = below.back();
    for (std::size_t i = above.size() - 1; i-- > 0;) {
      a = a * x + above[i];
      b = b * x + below[i];
    }
    return a / b;
  }
};

constexpr Rational centre{
    {3.3871328727963666080e0, 1.3314166789178437745e2, 1.9715909503065514427e3,
     1.3731693765509461125e4, 4.5921953931549871457e4, 6.7265770927008700853e4,
     3.3430575583588128105e4, 2.5090809287301226727e3},
    {1.0, 4.2313330701600911252e1, 6.8718700749205790830e2, 5.3941960214247511077e3,
     2.1213794301586595867e4, 3.9307895800092710610e4, 2.8729085735721942674e4,
     5.2264952788528545610e3}};
constexpr Rational tail{
    {1.42343711074968357734e0, 4.63033784615654529590e0, 5.76949722146069140550e0,
     3.64784832476320460504e0, 1.27045825245236838258e0, 2.41780725177450611770e-1,
     2.27238449892691845833e-2, 7.74545014278341407640e-4},
    {1.0, 2.05319162663775882187e0, 1.67638483018380384940e0, 6.89767334985100004550e-1,
     1.48103976427480074590e-1, 1.51986665636164571966e-2, 5.47593808499534494600e-4,
     1.05075007164441684324e-9}};
constexpr Rational far_tail{
    {6.65790464350110377720e0, 5.46378491116411436990e0, 1.78482653991729133580e0,
     2.96560571828504891230e-1, 2.65321895265761230930e-2, 1.24266094738807843860e-3,
     2.71155556874348757815e-5, 2.01033439929228813265e-7},
    {1.0, 5.99832206555887937690e-1, 1.36929880922735805310e-1, 1.48753612908506148525e-2,
     7.86869131145613259100e-4, 1.84631831751005468180e-5, 1.42151175831644588870e-7,
     2.04426310338993978564e-15}};

/// The continued fraction by Lentz's method; it converges fast for x < (a + 1)/(a + b + 2), within
/// some √max(a, b) steps.
double beta_fraction(double x, double a, double b) {
  constexpr double smallest = std::numeric_limits<double>::min();
  const auto not_zero = [](double value) { return std::abs(value) < smallest ? smallest : value; };
  const int most = 1000 + static_cast<int>(10 * std::sqrt(std::max(a, b)));
  double c = 1, d = 1 / not_zero(1 - (a + b) * x / (a + 1)), fraction = d;
  for (int i = 1; i < most; ++i) {
    const double m = i;
    double term = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
    d = 1 / not_zero(1 + term * d);
    c = not_zero(1 + term / c);
    fraction *= c * d;
    term = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
    d = 1 / not_zero(1 + term * d);
    c = not_zero(1 + term / c);
    fraction *= c * d;
    if (std::abs(c * d - 1) < 4 * std::numeric_limits<double>::epsilon()) break;
  }
  return fraction;
}

}  // namespace

double inverse_normal(double p) {
  const double from_half = p - 0.5;
  if (std::abs(from_half) <= 0.425) {
    return from_half * centre(0.180625 - from_half * from_half);
  }
  const double r = std::sqrt(-std::log(std::min(p, 1 - p)));
  const double distance = r <= 5 ? tail(r - 1.6) : far_tail(r - 5);
  return from_half < 0 ? -distance : distance;
}

double incomplete_beta(double x, double a, double b) {
  if (x <= 0) return 0;
  if (x >= 1) return 1;
  const double log_factor =
      a * std::log(x) + b * std::log1p(-x) + std::lgamma(a + b) - std::lgamma(a) - std::lgamma(b);
  const double factor = std::exp(log_factor);
  if (x > (a + 1) / (a + b + 2)) return 1 - factor * beta_fraction(1 - x, b, a) / b;
  return factor * beta_fraction(x, a, b) / a;
}

}  // namespace stanley
