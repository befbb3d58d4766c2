#pragma once

#include <omp.h>

#include <algorithm>
#include <vector>

#include "energy/one_thread.hpp"
#include "energy/weight_gradient.hpp"
#include "energy/whole_blocks.hpp"

namespace stanley {

/// A gradient of weights that adds up over blocks of states, in sums of a form of its own, with a
/// workspace for each thread.
template <typename Workspace, typename Sums>
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
  virtual Sums make_sums() const = 0;
  /// Sets to zero.
  virtual void clear(Sums& sums) const = 0;
  virtual void add_block(Workspace& workspace, const WholeBlocks::Block& block,
                         Sums& sums) const = 0;
  virtual void add_sums(const Sums& from, Sums& to) const = 0;
  /// To the order and the shapes of the network's weights.
  virtual std::vector<at::Tensor> finish(const Sums& sums) const = 0;

 private:
  /// Slices of blocks, the same whatever the number of threads, are added up in order.
  void add_up(const WholeBlocks& blocks) {
    const std::int64_t slices = std::min<std::int64_t>((blocks.count + 1) / 2, 8);
    const int threads = static_cast<int>(std::min<std::int64_t>(omp_get_max_threads(), slices));
    while (workspaces_.size() < static_cast<std::size_t>(threads)) {
      workspaces_.push_back(make_workspace());
    }
    while (sums_.size() < static_cast<std::size_t>(threads) + 1) sums_.push_back(make_sums());
    clear(sums_[0]);
#pragma omp parallel num_threads(threads)
    {
      const OneThread one_thread;
      const auto thread = static_cast<std::size_t>(omp_get_thread_num());
#pragma omp for ordered schedule(static, 1)
      for (std::int64_t slice = 0; slice < slices; ++slice) {
        Sums& sums = sums_[thread + 1];
        clear(sums);
        for (std::int64_t i = slice * blocks.count / slices;
             i < (slice + 1) * blocks.count / slices; ++i) {
          add_block(workspaces_[thread], blocks.at(i), sums);
        }
#pragma omp ordered
        add_sums(sums, sums_[0]);
      }
    }
  }

  std::int64_t block_;
  std::vector<Workspace> workspaces_;  // one for each thread
  std::vector<Sums> sums_;             // of all, and then one for each thread
};

}  // namespace stanley
