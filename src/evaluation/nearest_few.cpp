#include "evaluation/nearest_few.hpp"

#include <ATen/ATen.h>

#include <span>

#include "chains/tensor_view.hpp"

namespace stanley {

void NearestFew::add(const NearestFew& found, std::int64_t first) {
  std::int64_t at = first * neighbours_of_a_ball;
  for (const double squared : found.squared_) add(at++ / neighbours_of_a_ball, squared);
}

/// Takes the nearest one of all ranks away, as often as it is there, until the radius is found.
at::Tensor NearestFew::squared_radii(Communicator& communicator) const {
  constexpr auto wanted = static_cast<std::size_t>(neighbours_of_a_ball);
  const std::size_t samples = squared_.size() / wanted;
  const at::Tensor radii = at::full({static_cast<std::int64_t>(samples)},
                                    std::numeric_limits<double>::infinity(), at::kDouble);
  const auto radius = values_of<double>(radii);
  std::vector<std::size_t> taken(samples), taken_by_all(samples);
  std::vector<double> negative(samples);
  std::vector<std::int64_t> equal(samples);
  for (std::size_t round = 0; round < wanted; ++round) {
    for (std::size_t i = 0; i < samples; ++i) {
      negative[i] = taken[i] < wanted ? -squared_[i * wanted + taken[i]]
                                      : -std::numeric_limits<double>::infinity();
    }
    communicator.max(std::span<double>(negative));
    for (std::size_t i = 0; i < samples; ++i) {
      equal[i] = 0;
      while (taken[i] < wanted && squared_[i * wanted + taken[i]] == -negative[i]) {
        ++taken[i];
        ++equal[i];
      }
    }
    communicator.sum(std::span<std::int64_t>(equal));
    for (std::size_t i = 0; i < samples; ++i) {
      const std::size_t before = taken_by_all[i];
      taken_by_all[i] += static_cast<std::size_t>(equal[i]);
      if (before < wanted && taken_by_all[i] >= wanted) radius[i] = -negative[i];
    }
  }
  return radii;
}

}  // namespace stanley
