#include "sampler/walls.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace stanley {

at::Tensor Walls::fold(const at::Tensor& x) const {
  if (!box_) return x;
  const auto [low, high] = *box_;
  const at::Tensor inside = (x >= low).logical_and(x <= high),
                   along = at::remainder(x - low, 2 * width()),
                   image = (low + at::minimum(along, 2 * width() - along)).clamp(low, high);
  return at::where(inside, x, image);
}

void Walls::bounce(at::Tensor& position, at::Tensor& momentum) const {
  if (!box_) return;
  const at::Tensor outside = (position < low()).logical_or(position > (*box_)[1]),
                   turned =
                       outside.logical_and(at::remainder(position - low(), 2 * width()) > width());
  momentum = at::where(turned, -momentum, momentum);
  position = fold(position);
}

at::Tensor Walls::nearest(const at::Tensor& distance) const {
  return at::remainder(distance + width(), 2 * width()) - width();
}

at::Tensor Walls::log_density(const at::Tensor& to, const at::Tensor& centre, double reach,
                              const LogDensity& free) const {
  const auto summed = [](const at::Tensor& each) { return each.to(at::kDouble).sum(1); };
  const at::Tensor direct = to - centre;
  if (!box_) return summed(free(direct));
  // Images of both kinds, by an even and by an odd number of walls, repeat each 2·width.
  const at::Tensor even = nearest(direct), odd = nearest((2 * low() - to) - centre);
  at::Tensor total = at::logaddexp(free(even), free(odd));
  const double period = 2 * width();
  const auto further =
      static_cast<std::int64_t>(std::ceil(std::max(0.0, reach - width()) / period));
  for (std::int64_t k = 1; k <= further; ++k) {
    for (const double shift : {-period * static_cast<double>(k), period * static_cast<double>(k)}) {
      total = at::logaddexp(total, at::logaddexp(free(even + shift), free(odd + shift)));
    }
  }
  return summed(total);
}

}  // namespace stanley
