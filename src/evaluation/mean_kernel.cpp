#include "evaluation/mean_kernel.hpp"

#include <ATen/ATen.h>

#include <algorithm>

#include "chains/tensor_view.hpp"
#include "evaluation/pair_tiles.hpp"

namespace stanley {
namespace {

constexpr std::int64_t rows_of_a_mean = 32;  // few enough for every thread to get some

/// Collective. Σ k over all pairs.
double kernel_sum(const at::Tensor& x, const at::Tensor& y, Pairs pairs,
                  Communicator& communicator) {
  const at::Tensor sums = at::zeros({x.size(0)}, at::kDouble);
  const auto sum_of_row = values_of<double>(sums);
  for_each_pair_tile(x, y, pairs, rows_of_a_mean, communicator, [&](const PairTile& tile) {
    for (std::int64_t i = tile.rows.first; i < tile.rows.end(); ++i) {
      double& sum = sum_of_row[static_cast<std::size_t>(i)];
      for (std::int64_t j = tile.first_of(i); j < tile.columns.end(); ++j) {
        sum += polynomial_kernel(tile.product(i, j), x.size(1));
      }
    }
  });
  communicator.sum(sum_of_row);
  return sums.sum().item<double>();
}

}  // namespace

double mean_kernel_within(const at::Tensor& x, Communicator& communicator) {
  const auto n = static_cast<double>(x.size(0));
  return 2 * kernel_sum(x, x, Pairs::within, communicator) / (n * (n - 1));
}

double mean_kernel_across(const at::Tensor& x, const at::Tensor& y, Communicator& communicator) {
  return kernel_sum(x, y, Pairs::across, communicator) /
         (static_cast<double>(x.size(0)) * static_cast<double>(y.size(0)));
}

}  // namespace stanley
