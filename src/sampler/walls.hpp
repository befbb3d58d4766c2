#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <functional>
#include <optional>

namespace stanley {

/// The walls of the box as a corrected transition meets them: each element is reflected, as often
/// as it takes. Projection would lay a part of the law onto the walls, and a proposal that could
/// not leave would have no density there. Without a box there are no walls. Tensors are [n, d].
class Walls {
 public:
  explicit Walls(const std::optional<std::array<double, 2>>& box) : box_(box) {}

  /// x where it is inside, else its image there; NaN stays NaN.
  at::Tensor fold(const at::Tensor& x) const;

  /// The same in place, for what moves on: where an odd number of walls is met, the momentum
  /// turns.
  void bounce(at::Tensor& position, at::Tensor& momentum) const;

  /// log density of an element at a distance from the centre of its law, without walls.
  using LogDensity = std::function<at::Tensor(const at::Tensor& distance)>;

  /// Σ over the elements of the log density [n] float64 of `to`, inside, under the folded law: that
  /// of all its images behind the walls. `reach`: a distance from the centres beyond which the law
  /// has nothing (1e-17 of it).
  at::Tensor log_density(const at::Tensor& to, const at::Tensor& centre, double reach,
                         const LogDensity& free) const;

 private:
  double low() const { return (*box_)[0]; }
  double width() const { return (*box_)[1] - (*box_)[0]; }
  /// Into [−width, width), by whole periods of 2·width.
  at::Tensor nearest(const at::Tensor& distance) const;

  std::optional<std::array<double, 2>> box_;
};

}  // namespace stanley
