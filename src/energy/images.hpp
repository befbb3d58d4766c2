#pragma once

#include "energy/elementwise.hpp"
#include "energy/image_layout.hpp"
#include "energy/operation_times.hpp"

namespace stanley {

/// Calls visit(offset) for each row of `count` images that stand one behind the other.
template <typename Visit>
void for_each_row(const ImageLayout& layout, std::int64_t count, Visit visit) {
  for (std::int64_t i = 0; i < count; ++i) {
    for (std::int64_t y = 0; y < layout.height; ++y) visit(i * layout.size() + layout.row(y));
  }
}

/// f and f′ of `count` images of this layout, in place and at `derivative`.
inline void activate_images(const EnergyConfig& config, const ImageLayout& layout,
                            std::int64_t count, float* value, float* derivative) {
  const Timed timed(Operation::activations);
  for_each_row(layout, count, [&](std::int64_t row) {
    activate_with_derivative(config.activation, static_cast<float>(config.slope), layout.row_size(),
                             value + row, derivative + row);
  });
}

}  // namespace stanley
