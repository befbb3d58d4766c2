#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "evaluation/gaussian.hpp"
#include "evaluation/nearest_few.hpp"
#include "evaluation/row_blocks.hpp"
#include "parallel/communicator.hpp"

namespace stanley {

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

/// What pairs of samples of one kind with each other tell.
struct OwnPairs {
  at::Tensor kernel_sums;          ///< PairTable::within
  at::Tensor squared_radii;        ///< of the balls around all samples [n] float64
  at::Tensor squared_class_radii;  ///< of balls that end at neighbours of the same class [n]
};

/// Collective. Of samples [n, d] float64, the same on all ranks, which share the work: each pair
/// once, in O(n²·d) time and O(n · cells) memory. No bit of it depends on ranks or threads.
OwnPairs compare_own(const at::Tensor& samples, const Sorting& sorting, Communicator& communicator,
                     const RowsDone& done = {});

/// The images that draws are compared with, and what follows from them alone.
struct Reference {
  at::Tensor features;               ///< [m, d] float64
  at::Tensor squared_radii;          ///< of the balls around them [m] float64
  double mean_kernel = 0;            ///< mean of k(y, y′) over all pairs of two different ones
  std::optional<Gaussian> gaussian;  ///< none where they are no more than the features: m ≤ d
};

/// Collective. Of features [m, d] float64, the same on all ranks, m > neighbours_of_a_ball. No bit
/// of it depends on ranks or threads.
Reference make_reference(const at::Tensor& features, Communicator& communicator,
                         const RowsDone& done = {});

/// Collective. Compares draws [n, d] float64, the same on all ranks, which share the work, with
/// each other and with the reference, in O(n·(n/2 + m)·d) time and O(n · cells) memory beside the
/// features. No bit of it depends on ranks or threads.
PairTable compare_pairs(const at::Tensor& draws, const Sorting& sorting, const Reference& reference,
                        Communicator& communicator, const ProgressOf& progress = {});

}  // namespace stanley
