#include "evaluation/kept_reference.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

namespace stanley {
namespace {

/// All but the features, one after the other.
at::Tensor packed(const Reference& reference) {
  const auto number = [](double value) { return at::full({1}, value, at::kDouble); };
  std::vector<at::Tensor> parts{reference.squared_radii, number(reference.mean_kernel)};
  if (const auto& gaussian = reference.gaussian) {
    parts.insert(parts.end(),
                 {number(gaussian->trace), gaussian->mean, gaussian->factor.flatten()});
  }
  return at::cat(parts);
}

Reference unpacked(const at::Tensor& features, const at::Tensor& numbers) {
  const std::int64_t m = features.size(0), d = features.size(1);
  Reference reference{features, numbers.narrow(0, 0, m), numbers[m].item<double>(), {}};
  if (m > d) {
    reference.gaussian = Gaussian{.mean = numbers.narrow(0, m + 2, d),
                                  .factor = numbers.narrow(0, m + 2 + d, d * d).view({d, d}),
                                  .trace = numbers[m + 1].item<double>()};
  }
  return reference;
}

}  // namespace

Reference kept_reference(const Features& features, const ReferenceImages& images,
                         Communicator& communicator, Log& log, const ProgressOf& progress) {
  const at::Tensor all =
      features.of_reference(images, communicator, log, progress("features of the reference"));
  const std::int64_t m = all.size(0), d = all.size(1);
  const KeptNumbers wanted{.what = "statistics",
                           .kind = fmt::format(".statistics-{}", neighbours_of_a_ball),
                           .shape = {m + 1 + (m > d ? 1 + d + d * d : 0)},
                           .type = at::kDouble};
  const at::Tensor numbers = features.known_or_made(images, wanted, communicator, log, [&] {
    return packed(
        make_reference(all, communicator, progress("comparing the reference with itself")));
  });
  return unpacked(all, numbers);
}

}  // namespace stanley
