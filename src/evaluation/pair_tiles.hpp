#pragma once

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cstdint>
#include <functional>

#include "evaluation/row_blocks.hpp"
#include "parallel/communicator.hpp"

namespace stanley {

/// Pairs of all rows x of one matrix with all rows y of another one; or, of one matrix with itself,
/// each pair of two different rows once: of row i and a row above i.
enum class Pairs { across, within };

/// Products of neighbouring rows x with neighbouring rows y.
struct PairTile {
  Pairs pairs;
  RowBlock rows, columns;  ///< the x, the y
  const double* products;  ///< x·y [rows.count, columns.count]

  double product(std::int64_t row, std::int64_t column) const {
    return products[(row - rows.first) * columns.count + column - columns.first];
  }
  /// The first column that makes a pair with the row; none where it is columns.end() or above.
  std::int64_t first_of(std::int64_t row) const {
    return pairs == Pairs::within ? std::max(columns.first, row + 1) : columns.first;
  }
};

/// Calls `step` with tiles that hold all pairs of x [n, d] and y [m, d] (x itself for `within`),
/// float64, the same on all ranks. A row is one rank's, whose tiles come one after the other from
/// left to right, those of other rows meanwhile on other threads: no bit of what is summed along a
/// row depends on ranks or threads. Tiles have at most `rows_at_once` rows; memory is 32 KiB a row
/// for each thread. `done` tells rows by the share of pairs that are done. Not collective; throws
/// what a step threw first.
void for_each_pair_tile(const at::Tensor& x, const at::Tensor& y, Pairs pairs,
                        std::int64_t rows_at_once, const Communicator& communicator,
                        const std::function<void(const PairTile&)>& step,
                        const RowsDone& done = {});

/// The polynomial kernel of KID, (x·y/d + 1)³, of a product x·y of d numbers each (Bińkowski et
/// al., arXiv 1801.01401, eq. 4).
inline double polynomial_kernel(double product, std::int64_t dimension) {
  const double base = product / static_cast<double>(dimension) + 1;
  return base * base * base;
}

}  // namespace stanley
