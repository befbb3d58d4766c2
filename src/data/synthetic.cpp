#include "data/synthetic.hpp"

#include <cmath>
#include <numbers>

#include "random/random.hpp"

namespace stanley {
namespace {

/// The numbers of one sample.
class Draws {
 public:
  Draws(std::uint32_t seed, std::int64_t index)
      : key_{seed, random::Stream::synthetic_data, 0}, id_(static_cast<std::uint32_t>(index)) {}

  double uniform(std::uint32_t element) const {
    return random::uniform_double(key_, id_, 0, element);
  }
  /// Two independent standard normal numbers, in double precision (Box and Muller).
  double normal(std::uint32_t element, bool second) const {
    const double radius = std::sqrt(-2.0 * std::log(uniform(2 * element)));
    const double angle = 2.0 * std::numbers::pi * uniform(2 * element + 1);
    return radius * (second ? std::sin(angle) : std::cos(angle));
  }
  int choice(std::uint32_t element, int count) const {
    return static_cast<int>(uniform(element) * count);
  }

 private:
  random::Key key_;
  std::uint32_t id_;
};

struct Point {
  double x, y;
};

Point polar(double radius, double angle) {
  return {radius * std::cos(angle), radius * std::sin(angle)};
}

Point eight_gaussians(const Draws& draws) {
  const Point centre = polar(0.75, draws.choice(8, 8) * std::numbers::pi / 4);
  return {centre.x + 0.04 * draws.normal(0, false), centre.y + 0.04 * draws.normal(0, true)};
}

Point pinwheel(const Draws& draws) {
  const double radial = 0.45 + 0.14 * draws.normal(0, false);
  const double tangential = 0.04 * draws.normal(0, true);
  const double arm = draws.choice(8, 5) * 2 * std::numbers::pi / 5;
  const double twist = arm + 2.5 * radial;
  return {radial * std::cos(twist) - tangential * std::sin(twist),
          radial * std::sin(twist) + tangential * std::cos(twist)};
}

Point checkerboard(const Draws& draws) {
  const int row = draws.choice(8, 4);
  const int column = 2 * draws.choice(9, 2) + row % 2;
  return {-0.9 + 0.45 * (column + draws.uniform(0)), -0.9 + 0.45 * (row + draws.uniform(1))};
}

Point rings(const Draws& draws) {
  constexpr int ring[] = {1, 2, 2, 3, 3, 3};  // as often as they are long
  const double radius = 0.3 * ring[draws.choice(8, 6)] + 0.03 * draws.normal(0, false);
  return polar(radius, 2 * std::numbers::pi * draws.uniform(9));
}

Point point_of(DataType type, const Draws& draws) {
  switch (type) {
    case DataType::eight_gaussians:
      return eight_gaussians(draws);
    case DataType::pinwheel:
      return pinwheel(draws);
    case DataType::checkerboard:
      return checkerboard(draws);
    case DataType::rings:
    case DataType::file:
      break;
  }
  return rings(draws);
}

}  // namespace

void synthetic_sample(DataType type, std::uint32_t seed, std::int64_t index, float* out) {
  const Point point = point_of(type, Draws(seed, index));
  out[0] = static_cast<float>(point.x);
  out[1] = static_cast<float>(point.y);
}

}  // namespace stanley
