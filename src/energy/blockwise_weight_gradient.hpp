#pragma once

#include <omp.h>

#include <algorithm>
#include <vector>

#include "energy/elementwise.hpp"
#include "energy/vectorized.hpp"
#include "energy/weight_gradient.hpp"
#include "energy/whole_blocks.hpp"

namespace stanley {

/// What a gradient of weights is added up in: parts of any form, and the last bias's.
class GradientSums {
 public:
  /// Zeros, for parts of so many elements.
  explicit GradientSums(const std::vector<std::int64_t>& sizes) : parts_(sizes.size()) {
    for (std::size_t i = 0; i < sizes.size(); ++i) parts_[i] = AlignedBuffer<float>(sizes[i]);
  }

  float* part(std::size_t i) { return parts_[i].data(); }
  const float* part(std::size_t i) const { return parts_[i].data(); }
  float* last() { return parts_.back().data(); }
  const float* last() const { return parts_.back().data(); }

  void clear() {
    for (AlignedBuffer<float>& part : parts_) part.clear();
    last_bias = 0;
  }
  void add(const GradientSums& from) {
    for (std::size_t i = 0; i < parts_.size(); ++i) {
      stanley::add(parts_[i].size(), from.part(i), part(i));
    }
    last_bias += from.last_bias;
  }

  double last_bias = 0;

 private:
  std::vector<AlignedBuffer<float>> parts_;
};

/// A gradient of weights that adds up over blocks of states, with a workspace for each thread.
template <typename Workspace>
class BlockwiseWeightGradient : public WeightGradient {
 public:
  /// Of blocks of so many states.
  explicit BlockwiseWeightGradient(std::int64_t block) : block_(block) {}

  std::vector<at::Tensor> evaluate(const at::Tensor& state, const at::Tensor& constant,
                                   const at::Tensor& slope, at::Tensor& energy) final {
    const WholeBlocks blocks(block_, state, constant, slope);
    add_up(blocks);
    blocks.store_energies(energy);
    return finish(sums_[0]);
  }

 protected:
  virtual Workspace make_workspace() const = 0;
  /// Elements of the sums' parts.
  virtual std::vector<std::int64_t> sum_sizes() const = 0;
  virtual void add_block(Workspace& workspace, const WholeBlocks::Block& block,
                         GradientSums& sums) const = 0;
  /// To the order and the shapes of the network's weights.
  virtual std::vector<at::Tensor> finish(const GradientSums& sums) const = 0;

 private:
  /// Slices of blocks, the same whatever the number of threads, are added up in order.
  void add_up(const WholeBlocks& blocks) {
    const std::int64_t slices = std::clamp<std::int64_t>((blocks.count + 1) / 2, 1, 8);
    const int threads = static_cast<int>(std::min<std::int64_t>(omp_get_max_threads(), slices));
    while (workspaces_.size() < static_cast<std::size_t>(threads)) {
      workspaces_.push_back(make_workspace());
    }
    const std::size_t parts = slices > 1 ? static_cast<std::size_t>(threads) + 1 : 1;
    while (sums_.size() < parts) sums_.emplace_back(sum_sizes());
#pragma omp parallel for num_threads(threads) ordered schedule(static, 1)
    for (std::int64_t slice = 0; slice < slices; ++slice) {
      const auto thread = static_cast<std::size_t>(omp_get_thread_num());
      GradientSums& sums = sums_[slice == 0 ? 0 : thread + 1];
      sums.clear();
      for (std::int64_t i = slice * blocks.count / slices; i < (slice + 1) * blocks.count / slices;
           ++i) {
        add_block(workspaces_[thread], blocks.at(i), sums);
      }
#pragma omp ordered
      if (slice > 0) sums_[0].add(sums);
    }
  }

  std::int64_t block_;
  std::vector<Workspace> workspaces_;  // one for each thread
  std::vector<GradientSums> sums_;     // of the first slice, then of all; and one for each thread
};

}  // namespace stanley
