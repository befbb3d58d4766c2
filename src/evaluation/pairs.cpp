#include "evaluation/pairs.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <mutex>
#include <numeric>

#include "chains/tensor_view.hpp"
#include "evaluation/pair_tiles.hpp"

namespace stanley {
namespace {

constexpr std::int64_t rows_of_a_tile = 256;

at::Tensor squared_norms_of(const at::Tensor& samples) { return samples.square().sum(1); }

double squared_distance(double squared_norm, double other_squared_norm, double product) {
  return std::max(0.0, squared_norm + other_squared_norm - 2 * product);
}

/// 1 where a sample is in a cell, 0 elsewhere [n, cells].
at::Tensor cells_of(const Sorting& sorting) {
  const auto n = static_cast<std::int64_t>(sorting.class_of.size());
  const at::Tensor cells = at::zeros({n, sorting.cells()}, at::kDouble);
  auto in_cell = cells.accessor<double, 2>();
  for (std::int64_t i = 0; i < n; ++i) in_cell[i][sorting.cell_of(static_cast<std::size_t>(i))] = 1;
  return cells;
}

/// Pairs of samples with each other, while tiles of them are added.
class Within {
 public:
  Within(const at::Tensor& samples, const Sorting& sorting)
      : sorting_(sorting),
        dimension_(samples.size(1)),
        squared_norms_(squared_norms_of(samples)),
        sums_(at::zeros({samples.size(0), sorting.cells()}, at::kDouble)),
        nearest_(samples.size(0)),
        nearest_of_class_(sorting.classes > 1 ? samples.size(0) : 0) {
    for (std::size_t i = 0; i < sorting.class_of.size(); ++i) {
      cell_of_.push_back(sorting.cell_of(i));
    }
  }

  void add(const PairTile& tile) {
    add_kernel(tile);
    add_nearest(tile, nearest_, [](std::int64_t, std::int64_t) { return true; });
    if (sorting_.classes == 1) return;
    const std::int64_t* class_of = sorting_.class_of.data();
    add_nearest(tile, nearest_of_class_,
                [class_of](std::int64_t i, std::int64_t j) { return class_of[i] == class_of[j]; });
  }

  /// Collective: each rank has some of the rows.
  OwnPairs finish(Communicator& communicator) {
    communicator.sum(values_of<double>(sums_));
    const at::Tensor once = at::mm(cells_of(sorting_).t(), sums_);
    const at::Tensor radii = nearest_.squared_radii(communicator);
    return {once + once.t(), radii,
            sorting_.classes == 1 ? radii : nearest_of_class_.squared_radii(communicator)};
  }

 private:
  /// Σ of k, for each row over later samples of other chains, within each of their cells.
  void add_kernel(const PairTile& tile) {
    const std::int64_t *chain_of = sorting_.chain_of.data(), *cell_of = cell_of_.data();
    for (std::int64_t i = tile.rows.first; i < tile.rows.end(); ++i) {
      double* sums = sums_.mutable_data_ptr<double>() + i * sorting_.cells();
      for (std::int64_t j = tile.first_of(i); j < tile.columns.end(); ++j) {
        if (chain_of[i] == chain_of[j]) continue;
        sums[cell_of[j]] += polynomial_kernel(tile.product(i, j), dimension_);
      }
    }
  }

  template <typename IsPair>
  void add_nearest(const PairTile& tile, NearestFew& nearest, const IsPair& is_pair) {
    NearestFew of_rows(tile.rows.count), of_columns(tile.columns.count);
    const double* norms = squared_norms_.const_data_ptr<double>();
    for (std::int64_t i = tile.rows.first; i < tile.rows.end(); ++i) {
      for (std::int64_t j = tile.first_of(i); j < tile.columns.end(); ++j) {
        if (!is_pair(i, j)) continue;
        const double squared = squared_distance(norms[i], norms[j], tile.product(i, j));
        of_rows.add(i - tile.rows.first, squared);
        of_columns.add(j - tile.columns.first, squared);
      }
    }
    const std::lock_guard lock(mutex_);
    nearest.add(of_rows, tile.rows.first);
    nearest.add(of_columns, tile.columns.first);
  }

  const Sorting& sorting_;
  std::int64_t dimension_;
  at::Tensor squared_norms_;           // [n]
  std::vector<std::int64_t> cell_of_;  // of each sample
  at::Tensor sums_;                    // [n, cells]
  NearestFew nearest_, nearest_of_class_;
  std::mutex mutex_;  // of the last two
};

/// Pairs of draws with a reference, while tiles of them are added.
class Across {
 public:
  Across(const at::Tensor& draws, const Sorting& sorting, const OwnPairs& own,
         const Reference& reference)
      : sorting_(sorting),
        own_(own),
        reference_(reference),
        squared_norms_(squared_norms_of(draws)),
        of_images_(squared_norms_of(reference.features)),
        kernel_sums_(at::zeros({draws.size(0), 1}, at::kDouble)),
        balls_(at::zeros({draws.size(0)}, at::kDouble)),
        recalled_(at::zeros({sorting.classes + 1, reference.features.size(0)}, at::kDouble)),
        covered_(at::zeros_like(recalled_)) {}

  void add(const PairTile& tile) {
    add_kernel(tile);
    const std::int64_t columns = tile.columns.count;
    const at::Tensor recalled = at::zeros({sorting_.classes + 1, columns}, at::kBool);
    const at::Tensor covered = at::zeros_like(recalled);
    for (std::int64_t i = tile.rows.first; i < tile.rows.end(); ++i) {
      add_balls(tile, i, recalled.mutable_data_ptr<bool>(), covered.mutable_data_ptr<bool>());
    }
    const std::lock_guard lock(mutex_);
    recalled_.narrow(1, tile.columns.first, columns).logical_or_(recalled);
    covered_.narrow(1, tile.columns.first, columns).logical_or_(covered);
  }

  /// Collective: each rank has some of the rows.
  PairTable finish(Communicator& communicator) {
    for (const at::Tensor& part : {kernel_sums_, balls_}) {
      communicator.sum(values_of<double>(part));
    }
    for (const at::Tensor& part : {recalled_, covered_}) communicator.max(values_of<double>(part));
    const at::Tensor in_cell = cells_of(sorting_);
    return {own_.kernel_sums,
            count_pairs(in_cell),
            at::mm(in_cell.t(), kernel_sums_).squeeze(1),
            balls_,
            recalled_,
            covered_};
  }

 private:
  /// Pairs of draws of different chains, by cells.
  at::Tensor count_pairs(const at::Tensor& in_cell) const {
    const at::Tensor chain_of = at::tensor(sorting_.chain_of, at::kLong);
    const std::int64_t chains = chain_of.max().item<std::int64_t>() + 1;
    at::Tensor by_chain = at::zeros({chains, in_cell.size(1)}, at::kDouble);
    by_chain.index_add_(0, chain_of, in_cell);
    const at::Tensor of_cells = by_chain.sum(0);
    return at::outer(of_cells, of_cells) - at::mm(by_chain.t(), by_chain);
  }

  void add_kernel(const PairTile& tile) {
    double* sums = kernel_sums_.mutable_data_ptr<double>();
    const std::int64_t dimension = reference_.features.size(1);
    for (std::int64_t i = tile.rows.first; i < tile.rows.end(); ++i) {
      for (std::int64_t j = tile.columns.first; j < tile.columns.end(); ++j) {
        sums[i] += polynomial_kernel(tile.product(i, j), dimension);
      }
    }
  }

  /// Of draw i: in how many balls of images it lies, and into which images' balls and which images
  /// lie in its own; `recalled` and `covered` as in the table, of the tile's columns.
  void add_balls(const PairTile& tile, std::int64_t i, bool* recalled, bool* covered) {
    const double* of_images = of_images_.const_data_ptr<double>();
    const double* radii_of_images = reference_.squared_radii.const_data_ptr<double>();
    const double norm = squared_norms_.const_data_ptr<double>()[i];
    const double radius = own_.squared_radii.const_data_ptr<double>()[i];
    const double class_radius = own_.squared_class_radii.const_data_ptr<double>()[i];
    const std::int64_t columns = tile.columns.count;
    const std::int64_t of_class = (sorting_.class_of[static_cast<std::size_t>(i)] + 1) * columns;
    double balls = 0;
    for (std::int64_t k = 0; k < columns; ++k) {
      const std::int64_t j = tile.columns.first + k;
      const double squared = squared_distance(norm, of_images[j], tile.product(i, j));
      const bool covers = squared < radii_of_images[j];
      balls += covers ? 1 : 0;
      covered[k] |= covers;
      covered[of_class + k] |= covers;
      recalled[k] |= squared < radius;
      recalled[of_class + k] |= squared < class_radius;
    }
    balls_.mutable_data_ptr<double>()[i] += balls;
  }

  const Sorting& sorting_;
  const OwnPairs& own_;
  const Reference& reference_;
  at::Tensor squared_norms_, of_images_;  // [n], [m]
  at::Tensor kernel_sums_, balls_;        // a row for each draw
  at::Tensor recalled_, covered_;         // as in the table
  std::mutex mutex_;                      // of the last two
};

}  // namespace

OwnPairs compare_own(const at::Tensor& samples, const Sorting& sorting, Communicator& communicator,
                     const RowsDone& done) {
  Within within(samples, sorting);
  for_each_pair_tile(
      samples, samples, Pairs::within, rows_of_a_tile, communicator,
      [&](const PairTile& tile) { within.add(tile); }, done);
  return within.finish(communicator);
}

Reference make_reference(const at::Tensor& features, Communicator& communicator,
                         const RowsDone& done) {
  const std::int64_t m = features.size(0);
  const auto images = static_cast<std::size_t>(m);
  Sorting alone;
  alone.chain_of.resize(images);
  std::iota(alone.chain_of.begin(), alone.chain_of.end(), 0);
  alone.class_of.resize(images);
  alone.group_of.resize(images);
  const OwnPairs own = compare_own(features, alone, communicator, done);
  const auto pairs = static_cast<double>(m) * static_cast<double>(m - 1);
  Reference reference{features, own.squared_radii, own.kernel_sums.item<double>() / pairs, {}};
  if (m > features.size(1)) reference.gaussian = fit_gaussian(features);
  return reference;
}

PairTable compare_pairs(const at::Tensor& draws, const Sorting& sorting, const Reference& reference,
                        Communicator& communicator, const ProgressOf& progress) {
  const auto done = [&](const char* what) { return progress ? progress(what) : RowsDone{}; };
  const OwnPairs own =
      compare_own(draws, sorting, communicator, done("comparing states with each other"));
  Across across(draws, sorting, own, reference);
  for_each_pair_tile(
      draws, reference.features, Pairs::across, rows_of_a_tile, communicator,
      [&](const PairTile& tile) { across.add(tile); }, done("comparing states with the reference"));
  return across.finish(communicator);
}

}  // namespace stanley
