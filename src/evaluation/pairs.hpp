#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "evaluation/row_blocks.hpp"
#include "parallel/communicator.hpp"

namespace stanley {

/// The polynomial kernel of KID, (x·y/d + 1)³, of products x·y (Bińkowski et al., arXiv
/// 1801.01401, eq. 4).
at::Tensor polynomial_kernel(const at::Tensor& products, std::int64_t dimension);

/// A ball around a sample ends at the so-manieth nearest other one of its kind (Kynkäänniemi et
/// al., arXiv 1904.06991, eq. 1; Naeem et al., arXiv 2002.09797, eq. 4).
inline constexpr std::int64_t neighbours_of_a_ball = 5;

/// The images that draws are compared with.
struct Reference {
  at::Tensor features;       ///< [m, d] float64
  at::Tensor squared_radii;  ///< of the balls around them [m] float64
  double mean_kernel = 0;    ///< mean of k(y, y′) over all pairs of two different ones
};

/// Collective. Of features [m, d] float64, the same on all ranks, m > neighbours_of_a_ball. No bit
/// of it depends on ranks or threads.
Reference make_reference(const at::Tensor& features, Communicator& communicator);

/// How draws are sorted: by their chains, into classes, each of which is judged for itself too, and
/// into the groups of a jackknife, with all draws of a chain in one. A cell is a class and a group:
/// number class · groups + group.
struct Sorting {
  std::vector<std::int64_t> chain_of, class_of, group_of;  ///< of each draw
  std::int64_t classes = 1, groups = 1;

  std::int64_t cells() const { return classes * groups; }
  std::int64_t cell_of(std::size_t draw) const { return class_of[draw] * groups + group_of[draw]; }
};

/// What pairs of draws with each other and with a reference tell.
struct PairTable {
  /// Σ k(x, x′) over x in one cell and x′ of another chain in another [cells, cells] float64, and
  /// how many pairs these are. Draws of one chain resemble each other: they would raise the mean.
  at::Tensor within, pairs;
  /// Σ k(x, y) over x in a cell and all y [cells] float64.
  at::Tensor across;
  /// In how many balls of the reference each draw lies [n] float64.
  at::Tensor balls;
  /// Whether an image of the reference lies in the ball of a draw, and whether a draw lies in its
  /// own, [1 + classes, m] float64, 0 or 1: for all draws, then for those of each class alone
  /// (whose balls end at neighbours of the same class).
  at::Tensor recalled, covered;
};

/// Collective. Compares draws [n, d] float64, the same on all ranks, which share the work, with
/// each other and with the reference, in O(n·(n + m)·d) time and O(n · cells) memory beside the
/// features. No bit of it depends on ranks or threads.
PairTable compare_pairs(const at::Tensor& draws, const Sorting& sorting, const Reference& reference,
                        Communicator& communicator, const RowsDone& done = {});

}  // namespace stanley
