#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "data/dataset.hpp"

namespace stanley {

/// One Gaussian for each class of a data set, or one for all of it where there are no labels: mean
/// and covariance of at most 4096 samples.
class ClassGaussians {
 public:
  /// With the covariance's `components` directions of largest variance alone, where they are given.
  /// Takes d³ operations and d² memory for each class; `progressed` is told of each one.
  ClassGaussians(const Dataset& dataset, std::optional<std::int64_t> components,
                 const std::function<void()>& progressed);

  std::int64_t classes() const { return static_cast<std::int64_t>(gaussians_.size()); }

  /// Turns standard normal states [n, ...], on the CPU, into draws of the class that `class_of[i]`
  /// names for each. A state's numbers don't depend on the others, nor on the threads.
  void shape(const std::vector<std::int64_t>& class_of, at::Tensor& states) const;

 private:
  struct Gaussian {
    at::Tensor mean;  ///< [d]
    at::Tensor root;  ///< [d, columns]: R with RᵀR the covariance, then zeros
  };
  static Gaussian fit(const Dataset& dataset, const std::vector<std::int64_t>& members,
                      std::optional<std::int64_t> components);
  static void shape_rows(const Gaussian& gaussian, const std::vector<std::int64_t>& rows,
                         at::Tensor& states);

  std::vector<Gaussian> gaussians_;
};

}  // namespace stanley
