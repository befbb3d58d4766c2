#include "evaluation/pair_tiles.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <atomic>

namespace stanley {
namespace {

constexpr std::int64_t columns_at_once = 4096;

/// How many pairs of columns from `first` on a block of rows has.
std::int64_t pairs_of(const RowBlock& rows, std::int64_t first, std::int64_t columns) {
  return rows.count * (columns - first);
}

}  // namespace

void for_each_pair_tile(const at::Tensor& x, const at::Tensor& y, Pairs pairs,
                        std::int64_t rows_at_once, const Communicator& communicator,
                        const std::function<void(const PairTile&)>& step, const RowsDone& done) {
  const std::int64_t n = x.size(0), m = y.size(0);
  const auto first_column = [&](std::int64_t first_row) {
    return pairs == Pairs::within ? first_row : 0;
  };
  std::int64_t mine = 0;
  for (std::int64_t first = communicator.rank() * rows_at_once; first < n;
       first += communicator.size() * rows_at_once) {
    mine += pairs_of({first, std::min(rows_at_once, n - first)}, first_column(first), m);
  }
  std::atomic<std::int64_t> finished{0};
  const auto do_rows = [&](const RowBlock& rows) {
    const at::Tensor of_rows = x.narrow(0, rows.first, rows.count);
    const at::Tensor memory = at::empty({rows.count * std::min(columns_at_once, m)}, at::kDouble);
    for (std::int64_t first = first_column(rows.first); first < m; first += columns_at_once) {
      const RowBlock columns{first, std::min(columns_at_once, m - first)};
      at::Tensor products =
          memory.narrow(0, 0, rows.count * columns.count).view({rows.count, columns.count});
      at::mm_out(products, of_rows, y.narrow(0, columns.first, columns.count).t());
      step({pairs, rows, columns, products.const_data_ptr<double>()});
    }
    finished += pairs_of(rows, first_column(rows.first), m);
  };
  for_each_row_block(
      n, rows_at_once, communicator, do_rows, [&](std::int64_t, std::int64_t all_rows) {
        if (!done) return;
        const double share = static_cast<double>(finished) / static_cast<double>(mine);
        done(static_cast<std::int64_t>(share * static_cast<double>(all_rows)), all_rows);
      });
}

}  // namespace stanley
