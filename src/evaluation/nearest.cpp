#include "evaluation/nearest.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>

#include "chains/tensor_view.hpp"
#include "parallel/agree.hpp"

namespace stanley {
namespace {

constexpr double no_distance = std::numeric_limits<double>::infinity();
// Pairs that are looked at together take 8 MiB. Rows are dealt over the ranks by blocks of one
// size, so that a rank has the same rows in each part.
constexpr std::int64_t samples_at_once = 256, images_at_once = 4096;

}  // namespace

NearestSearch::NearestSearch(const at::Tensor& samples, const at::Tensor& owners)
    : samples_(samples),
      owners_(owners),
      distances_(at::zeros({samples.size(0)}, at::kDouble)),
      indices_(at::zeros({samples.size(0)}, at::kLong)) {}

void NearestSearch::add(const at::Tensor& images, std::int64_t first,
                        const Communicator& communicator, const at::Tensor& owners,
                        const RowsDone& done) {
  const at::Tensor squared_norms = images.square().sum(1);
  for_each_row_block(
      samples_.size(0), samples_at_once, communicator,
      [&](const RowBlock& rows) {
        for (std::int64_t from = 0; from < images.size(0); from += images_at_once) {
          const std::int64_t count = std::min(images_at_once, images.size(0) - from);
          add_to(rows, images.narrow(0, from, count), squared_norms.narrow(0, from, count),
                 first + from, owners.defined() ? owners.narrow(0, from, count) : owners);
        }
      },
      done);
}

/// The best pair of a block is found by products, whose errors are far above those of a
/// difference; what is kept is computed from the difference.
void NearestSearch::add_to(const RowBlock& rows, const at::Tensor& images,
                           const at::Tensor& squared_norms, std::int64_t first,
                           const at::Tensor& owners) {
  const at::Tensor x = samples_.narrow(0, rows.first, rows.count);
  at::Tensor squared = squared_norms.unsqueeze(0) - 2 * at::mm(x, images.t());  // ‖x‖² is common
  if (owners.defined()) {
    const at::Tensor own = owners_.narrow(0, rows.first, rows.count).unsqueeze(1);
    squared.masked_fill_(own.eq(owners.unsqueeze(0)), no_distance);
  }
  const auto [least, place] = squared.min(1);
  at::Tensor distances = (x - images.index_select(0, place)).square().sum(1).sqrt();
  distances.masked_fill_(least.eq(no_distance), no_distance);
  const at::Tensor numbers = (place + first).masked_fill(least.eq(no_distance), -1);
  const at::Tensor best = distances_.narrow(0, rows.first, rows.count);
  const at::Tensor index = indices_.narrow(0, rows.first, rows.count);
  const at::Tensor better = first == 0 ? at::ones_like(least, at::kBool) : distances.lt(best);
  best.copy_(at::where(better, distances, best));
  index.copy_(at::where(better, numbers, index));
}

Nearest NearestSearch::finish(Communicator& communicator) {
  communicator.sum(values_of<double>(distances_));  // each row is one rank's, and zero on others
  communicator.sum(values_of<std::int64_t>(indices_));
  return {distances_, indices_};
}

Nearest nearest_others(const at::Tensor& samples, const at::Tensor& owners,
                       Communicator& communicator) {
  NearestSearch search(samples, owners);
  agree(communicator, [&] { search.add(samples, 0, communicator, owners); });
  return search.finish(communicator);
}

}  // namespace stanley
