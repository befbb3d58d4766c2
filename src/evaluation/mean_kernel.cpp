#include "evaluation/mean_kernel.hpp"

#include <ATen/ATen.h>

#include <algorithm>

#include "chains/tensor_view.hpp"
#include "evaluation/pairs.hpp"
#include "evaluation/row_blocks.hpp"

namespace stanley {
namespace {

/// Rows whose pairs with `columns` others take 2 MiB, few enough for every thread to get some.
std::int64_t rows_of_a_block(std::int64_t columns) {
  return std::clamp<std::int64_t>((std::int64_t{1} << 18) / columns, 1, 32);
}

/// Collective. Σ k over all rows of x and y, but for each row and itself where y is x.
double kernel_sum(const at::Tensor& x, const at::Tensor& y, bool same, Communicator& communicator) {
  const at::Tensor sums = at::zeros({x.size(0)}, at::kDouble);
  for_each_row_block(
      x.size(0), rows_of_a_block(y.size(0)), communicator, [&](const RowBlock& rows) {
        const at::Tensor products = at::mm(x.narrow(0, rows.first, rows.count), y.t());
        at::Tensor kernel = polynomial_kernel(products, x.size(1));
        if (same) kernel.diagonal(rows.first).fill_(0);
        sums.narrow(0, rows.first, rows.count).copy_(kernel.sum(1));
      });
  communicator.sum(values_of<double>(sums));
  return sums.sum().item<double>();
}

}  // namespace

double mean_kernel_within(const at::Tensor& x, Communicator& communicator) {
  const auto n = static_cast<double>(x.size(0));
  return kernel_sum(x, x, true, communicator) / (n * (n - 1));
}

double mean_kernel_across(const at::Tensor& x, const at::Tensor& y, Communicator& communicator) {
  return kernel_sum(x, y, false, communicator) /
         (static_cast<double>(x.size(0)) * static_cast<double>(y.size(0)));
}

}  // namespace stanley
