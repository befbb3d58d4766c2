#include "chains/class_gaussians.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <map>

#include "kernels/matrix_product.hpp"

namespace stanley {
namespace {

constexpr std::int64_t most_samples = 4096;
/// A little white noise keeps the covariance regular: edges of images are constant.
constexpr double noise_variance = 1e-4;
/// States that a thread takes at a time: enough to read the root seldom.
constexpr std::int64_t rows_at_once = 56;

at::Tensor whole_root(const at::Tensor& covariance) {
  const at::Tensor regular = covariance + noise_variance * at::eye(covariance.size(0), at::kDouble);
  return at::linalg_cholesky(regular).t();
}

/// The symmetric root of the covariance in its `count` directions of largest variance. Unlike the
/// directions themselves it has no sign or order that rounding could turn.
at::Tensor principal_root(const at::Tensor& covariance, std::int64_t count) {
  const auto [variances, directions] = at::linalg_eigh(covariance);  // the largest are last
  const std::int64_t first = covariance.size(0) - count;
  const at::Tensor kept = directions.narrow(1, first, count);
  return (kept * variances.narrow(0, first, count).clamp_min(0).sqrt()).mm(kept.t());
}

/// Up to so many samples of each label, whether or not the classes have names.
std::map<std::int64_t, std::vector<std::int64_t>> members_of(const Dataset& dataset) {
  std::map<std::int64_t, std::vector<std::int64_t>> members;
  for (std::int64_t i = 0; i < dataset.size(); ++i) {
    auto& group =
        members[dataset.labels().empty() ? 0 : dataset.labels()[static_cast<std::size_t>(i)]];
    if (static_cast<std::int64_t>(group.size()) < most_samples) group.push_back(i);
  }
  return members;
}

}  // namespace

ClassGaussians::ClassGaussians(const Dataset& dataset, std::optional<std::int64_t> components,
                               const std::function<void()>& progressed) {
  for (const auto& [label, members] : members_of(dataset)) {
    gaussians_.push_back(fit(dataset, members, components));
    if (progressed) progressed();
  }
}

ClassGaussians::Gaussian ClassGaussians::fit(const Dataset& dataset,
                                             const std::vector<std::int64_t>& members,
                                             std::optional<std::int64_t> components) {
  const c10::NoGradGuard no_gradient;
  const std::int64_t d = dataset.dimension(), count = static_cast<std::int64_t>(members.size());
  at::Tensor samples = at::empty({count, d}, at::kFloat);
  for (std::int64_t i = 0; i < count; ++i) {
    dataset.copy_sample(members[static_cast<std::size_t>(i)],
                        samples.mutable_data_ptr<float>() + i * d);
  }
  const at::Tensor mean = samples.mean(0);
  const at::Tensor centred = (samples - mean).to(at::kDouble);
  const at::Tensor covariance = centred.t().mm(centred) / static_cast<double>(count);
  const std::int64_t columns = (d + panel_columns - 1) / panel_columns * panel_columns;
  at::Tensor root = at::zeros({d, columns}, at::kFloat);
  root.narrow(1, 0, d).copy_(components && *components < d ? principal_root(covariance, *components)
                                                           : whole_root(covariance));
  return {mean, root};
}

void ClassGaussians::shape(const std::vector<std::int64_t>& class_of, at::Tensor& states) const {
  std::vector<std::vector<std::int64_t>> rows(gaussians_.size());
  for (std::size_t i = 0; i < class_of.size(); ++i) {
    rows[static_cast<std::size_t>(class_of[i])].push_back(static_cast<std::int64_t>(i));
  }
  for (std::size_t i = 0; i < gaussians_.size(); ++i) shape_rows(gaussians_[i], rows[i], states);
}

/// mean + root·ξ
void ClassGaussians::shape_rows(const Gaussian& gaussian, const std::vector<std::int64_t>& rows,
                                at::Tensor& states) {
  const std::int64_t d = gaussian.root.size(0), columns = gaussian.root.size(1);
  const auto* mean = gaussian.mean.const_data_ptr<float>();
  const auto* root = gaussian.root.const_data_ptr<float>();
  auto* values = states.mutable_data_ptr<float>();
  const auto count = static_cast<std::int64_t>(rows.size());
#pragma omp parallel for schedule(static)
  for (std::int64_t first = 0; first < count; first += rows_at_once) {
    const std::int64_t here = std::min(rows_at_once, count - first);
    const auto state_of = [&](std::int64_t i) {
      return values + rows[static_cast<std::size_t>(first + i)] * d;
    };
    std::vector<float> noise(static_cast<std::size_t>(here * d));
    std::vector<float> shaped(static_cast<std::size_t>(here * columns));
    for (std::int64_t i = 0; i < here; ++i) {
      std::copy_n(state_of(i), d, noise.data() + i * d);
    }
    multiply_matrices({.rows = here,
                       .depth = d,
                       .columns = columns,
                       .left = noise.data(),
                       .right = root,
                       .result = shaped.data()});
    for (std::int64_t i = 0; i < here; ++i) {
      std::transform(mean, mean + d, shaped.data() + i * columns, state_of(i), std::plus<>());
    }
  }
}

}  // namespace stanley
