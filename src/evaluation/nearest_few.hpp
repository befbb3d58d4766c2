#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <limits>
#include <vector>

#include "parallel/communicator.hpp"

namespace stanley {

/// A ball around a sample ends at the so-manieth nearest other one of its kind (Kynkäänniemi et
/// al., arXiv 1904.06991, eq. 1; Naeem et al., arXiv 2002.09797, eq. 4).
inline constexpr std::int64_t neighbours_of_a_ball = 5;

/// The squared distances of each sample to its nearest others, as many as a ball takes, while pairs
/// are added in any order.
class NearestFew {
 public:
  explicit NearestFew(std::int64_t samples)
      : squared_(static_cast<std::size_t>(samples * neighbours_of_a_ball),
                 std::numeric_limits<double>::infinity()) {}

  void add(std::int64_t sample, double squared_distance) {
    double* kept = squared_.data() + sample * neighbours_of_a_ball;
    std::int64_t place = neighbours_of_a_ball - 1;
    if (!(squared_distance < kept[place])) return;
    for (; place > 0 && squared_distance < kept[place - 1]; --place) kept[place] = kept[place - 1];
    kept[place] = squared_distance;
  }

  /// Adds what was found of samples from `first` on.
  void add(const NearestFew& found, std::int64_t first);

  /// Collective. The squared radii of all balls [samples] float64, of pairs that ranks have added
  /// each; infinite where too few others are there.
  at::Tensor squared_radii(Communicator& communicator) const;

 private:
  std::vector<double> squared_;  // [samples, neighbours_of_a_ball], ascending in each row
};

}  // namespace stanley
