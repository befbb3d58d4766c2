#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

namespace stanley {

/// A classifier is sure of an image where it gives its class at least this probability.
inline constexpr double confident_from = 0.9;

/// How some images fall into classes.
struct ClassHistogram {
  std::int64_t images = 0;
  std::vector<double> shares;  ///< of each class; their sum is 1
  double entropy = 0;          ///< −Σ p ln p, nats: ln(classes) where all are alike
  double confident = 0;        ///< share of images of which the classifier is sure
};

/// Of a classifier's logits [n, classes], n ≥ 1: each image counts for its likeliest class.
ClassHistogram histogram_of(const at::Tensor& logits);
/// Of labels from 0 to classes − 1, at least one.
ClassHistogram histogram_of(std::span<const std::int64_t> labels, std::int64_t classes);

/// ½ Σ |p − q| over classes: the share of images that would have to change their class.
double total_variation(const ClassHistogram& p, const ClassHistogram& q);
/// What it is on average, nearly, where both are independent samples of one law: a class of share s
/// contributes ½ √(2/π) √(s(1 − s)(1/n + 1/m)), the mean size of a normal deviation.
double total_variation_by_chance(const ClassHistogram& p, const ClassHistogram& q);

}  // namespace stanley
