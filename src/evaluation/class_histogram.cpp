#include "evaluation/class_histogram.hpp"

#include <ATen/ATen.h>

#include <cmath>
#include <numbers>

namespace stanley {
namespace {

/// Shares and entropy of counts.
ClassHistogram histogram_of_counts(const std::vector<std::int64_t>& counts, std::int64_t images) {
  ClassHistogram histogram{.images = images};
  for (const std::int64_t count : counts) {
    const double share = static_cast<double>(count) / static_cast<double>(images);
    histogram.shares.push_back(share);
    if (share > 0) histogram.entropy -= share * std::log(share);
  }
  return histogram;
}

}  // namespace

ClassHistogram histogram_of(const at::Tensor& logits) {
  const auto [probability, found] = at::softmax(logits.to(at::kDouble), 1).max(1);
  const at::Tensor chosen = found.contiguous();
  ClassHistogram histogram = histogram_of(
      std::span(chosen.const_data_ptr<std::int64_t>(), static_cast<std::size_t>(chosen.numel())),
      logits.size(1));
  histogram.confident = probability.ge(confident_from).to(at::kDouble).mean().item<double>();
  return histogram;
}

ClassHistogram histogram_of(std::span<const std::int64_t> labels, std::int64_t classes) {
  std::vector<std::int64_t> counts(static_cast<std::size_t>(classes));
  for (const std::int64_t label : labels) ++counts[static_cast<std::size_t>(label)];
  ClassHistogram histogram = histogram_of_counts(counts, static_cast<std::int64_t>(labels.size()));
  histogram.confident = 1;
  return histogram;
}

double total_variation(const ClassHistogram& p, const ClassHistogram& q) {
  double sum = 0;
  for (std::size_t c = 0; c < p.shares.size(); ++c) sum += std::abs(p.shares[c] - q.shares[c]);
  return sum / 2;
}

double total_variation_by_chance(const ClassHistogram& p, const ClassHistogram& q) {
  const auto n = static_cast<double>(p.images), m = static_cast<double>(q.images);
  double sum = 0;
  for (std::size_t c = 0; c < p.shares.size(); ++c) {
    const double share = (n * p.shares[c] + m * q.shares[c]) / (n + m);
    sum += std::sqrt(2 / std::numbers::pi * share * (1 - share) * (1 / n + 1 / m));
  }
  return sum / 2;
}

}  // namespace stanley
