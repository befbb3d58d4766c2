#include "evaluation/pairs.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>
#include <mutex>

#include "chains/tensor_view.hpp"

namespace stanley {
namespace {

constexpr double infinite = std::numeric_limits<double>::infinity();

/// Rows whose pairs with `columns` others take 8 MiB.
std::int64_t rows_at_once(std::int64_t columns) {
  return std::clamp<std::int64_t>((std::int64_t{1} << 20) / columns, 1, 256);
}

at::Tensor of(const at::Tensor& all, const RowBlock& rows) {
  return all.narrow(0, rows.first, rows.count);
}

/// Of products x·y [rows, columns] and the squared norms of both.
at::Tensor squared_distances(const at::Tensor& products, const at::Tensor& of_rows,
                             const at::Tensor& of_columns) {
  return (of_rows.unsqueeze(1) + of_columns.unsqueeze(0) - 2 * products).clamp_min_(0);
}

/// The squared radius of the ball around each row's sample; infinite where too few others are
/// there.
at::Tensor squared_radii(const at::Tensor& squared_distances_to_others) {
  const std::int64_t others = squared_distances_to_others.size(1);
  if (others < neighbours_of_a_ball) {
    return at::full({squared_distances_to_others.size(0)}, infinite, at::kDouble);
  }
  return std::get<0>(squared_distances_to_others.kthvalue(neighbours_of_a_ball, 1));
}

/// The samples of one kind, and a block's pairs with all of them.
struct Samples {
  explicit Samples(const at::Tensor& all)
      : features(all), squared_norms(all.square().sum(1)), dimension(all.size(1)) {}

  at::Tensor products(const at::Tensor& x) const { return at::mm(x, features.t()); }
  /// A block of these samples to the others: infinite to itself.
  at::Tensor squared_to_others(const at::Tensor& products, const RowBlock& rows) const {
    at::Tensor squared = squared_distances(products, of(squared_norms, rows), squared_norms);
    squared.diagonal(rows.first).fill_(infinite);
    return squared;
  }
  /// Σ of k over those of other chains, within each column of `sums` [all, ...].
  at::Tensor kernel_sums(const at::Tensor& products, const RowBlock& rows,
                         const at::Tensor& chain_of, const at::Tensor& sums) const {
    at::Tensor kernel = polynomial_kernel(products, dimension);
    kernel.masked_fill_(of(chain_of, rows).unsqueeze(1).eq(chain_of.unsqueeze(0)), 0);
    return at::mm(kernel, sums);
  }

  at::Tensor features, squared_norms;
  std::int64_t dimension;
};

/// The table, while blocks of rows are added to it.
class Comparison {
 public:
  Comparison(const at::Tensor& draws, const Sorting& sorting, const Reference& reference)
      : sorting_(sorting),
        reference_(reference),
        draws_(draws),
        images_(reference.features),
        chain_of_(at::tensor(sorting.chain_of, at::kLong)),
        class_of_(at::tensor(sorting.class_of, at::kLong)),
        in_cell_(at::zeros({draws.size(0), sorting.cells()}, at::kDouble)),
        within_(at::zeros({draws.size(0), sorting.cells()}, at::kDouble)),
        across_(at::zeros({draws.size(0), 1}, at::kDouble)),
        balls_(at::zeros({draws.size(0)}, at::kDouble)),
        recalled_(at::zeros({sorting.classes + 1, reference.features.size(0)}, at::kDouble)),
        covered_(at::zeros_like(recalled_)) {
    auto in_cell = in_cell_.accessor<double, 2>();
    for (std::size_t i = 0; i < sorting.class_of.size(); ++i) {
      in_cell[static_cast<std::int64_t>(i)][sorting.cell_of(i)] = 1;
    }
  }

  void add(const RowBlock& rows) {
    const at::Tensor x = of(draws_.features, rows);
    const at::Tensor products = draws_.products(x);
    of(within_, rows).copy_(draws_.kernel_sums(products, rows, chain_of_, in_cell_));
    at::Tensor to_draws = draws_.squared_to_others(products, rows);
    const at::Tensor radii = squared_radii(to_draws);
    const at::Tensor classes = of(class_of_, rows).unsqueeze(1);
    to_draws.masked_fill_(classes.ne(class_of_.unsqueeze(0)), infinite);
    add_reference(x, rows, radii, squared_radii(to_draws));
  }

  /// Collective: each rank has some of the rows.
  PairTable finish(Communicator& communicator) {
    for (const at::Tensor& part : {within_, across_, balls_})
      communicator.sum(values_of<double>(part));
    for (const at::Tensor& part : {recalled_, covered_}) communicator.max(values_of<double>(part));
    return {at::mm(in_cell_.t(), within_),
            count_pairs(),
            at::mm(in_cell_.t(), across_).squeeze(1),
            balls_,
            recalled_,
            covered_};
  }

 private:
  /// Pairs of draws of different chains, by cells.
  at::Tensor count_pairs() const {
    const std::int64_t chains = chain_of_.max().item<std::int64_t>() + 1;
    at::Tensor by_chain = at::zeros({chains, in_cell_.size(1)}, at::kDouble);
    by_chain.index_add_(0, chain_of_, in_cell_);
    const at::Tensor of_cells = by_chain.sum(0);
    return at::outer(of_cells, of_cells) - at::mm(by_chain.t(), by_chain);
  }

  void add_reference(const at::Tensor& x, const RowBlock& rows, const at::Tensor& radii,
                     const at::Tensor& class_radii) {
    const at::Tensor products = images_.products(x);
    of(across_, rows)
        .copy_(polynomial_kernel(products, images_.dimension).sum(1, /*keepdim=*/true));
    const at::Tensor squared =
        squared_distances(products, of(draws_.squared_norms, rows), images_.squared_norms);
    const at::Tensor covers = squared.lt(reference_.squared_radii.unsqueeze(0));
    of(balls_, rows).copy_(covers.sum(1));
    const at::Tensor in_class_ball = squared.lt(class_radii.unsqueeze(1));
    const at::Tensor classes = of(class_of_, rows).unsqueeze(1);
    const std::lock_guard lock(mutex_);
    covered_[0].logical_or_(covers.any(0));
    recalled_[0].logical_or_(squared.lt(radii.unsqueeze(1)).any(0));
    for (std::int64_t c = 0; c < sorting_.classes; ++c) {
      const at::Tensor mine = classes.eq(c);
      covered_[c + 1].logical_or_(covers.logical_and(mine).any(0));
      recalled_[c + 1].logical_or_(in_class_ball.logical_and(mine).any(0));
    }
  }

  const Sorting& sorting_;
  const Reference& reference_;
  Samples draws_, images_;
  at::Tensor chain_of_, class_of_, in_cell_;  // [n], [n], [n, cells]
  at::Tensor within_, across_, balls_;        // a row for each draw
  at::Tensor recalled_, covered_;             // as in the table
  std::mutex mutex_;                          // of the last two
};

}  // namespace

at::Tensor polynomial_kernel(const at::Tensor& products, std::int64_t dimension) {
  const at::Tensor base = products / static_cast<double>(dimension) + 1;
  return base * base * base;
}

Reference make_reference(const at::Tensor& features, Communicator& communicator) {
  const std::int64_t m = features.size(0);
  const Samples images(features);
  const at::Tensor one = at::ones({m, 1}, at::kDouble);
  const at::Tensor alone = at::arange(m, at::kLong);
  const at::Tensor sums = at::zeros({m, 1}, at::kDouble);
  const at::Tensor radii = at::zeros({m}, at::kDouble);
  for_each_row_block(m, rows_at_once(m), communicator, [&](const RowBlock& rows) {
    const at::Tensor products = images.products(of(features, rows));
    of(sums, rows).copy_(images.kernel_sums(products, rows, alone, one));
    of(radii, rows).copy_(squared_radii(images.squared_to_others(products, rows)));
  });
  for (const at::Tensor& part : {sums, radii}) communicator.sum(values_of<double>(part));
  const auto pairs = static_cast<double>(m) * static_cast<double>(m - 1);
  return {features, radii, sums.sum().item<double>() / pairs};
}

PairTable compare_pairs(const at::Tensor& draws, const Sorting& sorting, const Reference& reference,
                        Communicator& communicator, const RowsDone& done) {
  Comparison comparison(draws, sorting, reference);
  for_each_row_block(
      draws.size(0), rows_at_once(std::max(draws.size(0), reference.features.size(0))),
      communicator, [&](const RowBlock& rows) { comparison.add(rows); }, done);
  return comparison.finish(communicator);
}

}  // namespace stanley
