#pragma once

#include <ATen/ATen.h>
#include <omp.h>

#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

#include "energy/weight_gradient.hpp"
#include "engines/state_blocks.hpp"
#include "kernels/elementwise.hpp"
#include "kernels/memory.hpp"

namespace stanley {

/// States and what belongs to them, in whole blocks: behind the last state stand copies of it,
/// whose energies do not count.
struct WholeBlocks {
  /// The addresses of one block's first state, or of what belongs to it.
  struct Block {
    const float *state, *constant, *slope;
    float* energy;
  };

  std::int64_t block, count;  ///< states in a block; blocks
  at::Tensor state, constant, slope, energy;

  /// Of states [n, state shape], constants and slopes [n].
  WholeBlocks(std::int64_t block_of, const at::Tensor& states, const at::Tensor& constants,
              const at::Tensor& slopes)
      : block(block_of), count((states.size(0) + block - 1) / block) {
    const at::Tensor index = at::arange(count * block), is_state = index < states.size(0),
                     from = index.clamp_max(states.size(0) - 1);
    state = states.index_select(0, from);
    constant = constants.index_select(0, from) * is_state;
    slope = slopes.index_select(0, from) * is_state;
    energy = at::empty({count * block});
  }

  Block at(std::int64_t i) const {
    const std::int64_t first = i * block, elements = state.numel() / state.size(0);
    return {state.const_data_ptr<float>() + first * elements,
            constant.const_data_ptr<float>() + first, slope.const_data_ptr<float>() + first,
            energy.mutable_data_ptr<float>() + first};
  }
};

/// What a gradient of weights is added up in: parts of any form, the last one of the last weight,
/// and the last bias's.
struct GradientSums {
  std::vector<AlignedBuffer<float>> parts;
  double last_bias = 0;

  /// Zeros, for parts of so many elements.
  explicit GradientSums(const std::vector<std::int64_t>& sizes)
      : parts(sizes.begin(), sizes.end()) {}

  void clear() {
    for (AlignedBuffer<float>& part : parts) part.clear();
    last_bias = 0;
  }
  void add(const GradientSums& from) {
    for (std::size_t i = 0; i < parts.size(); ++i) {
      stanley::add(parts[i].size(), from.parts[i].data(), parts[i].data());
    }
    last_bias += from.last_bias;
  }
};

/// A gradient of weights that adds up over blocks of states, with a workspace for each thread.
template <typename Workspace>
class BlockwiseWeightGradient : public WeightGradient {
 public:
  /// Of blocks of so many states.
  explicit BlockwiseWeightGradient(std::int64_t block) : block_(block) {}

  std::vector<at::Tensor> evaluate(const at::Tensor& state, const at::Tensor& constant,
                                   const at::Tensor& slope, at::Tensor& energy) final {
    std::vector<at::Tensor> result;
    evaluate_parts(
        1, state, constant, slope, energy,
        [&](std::int64_t, const std::vector<at::Tensor>& gradients) { result = gradients; });
    return result;
  }

  void evaluate_parts(std::int64_t parts, const at::Tensor& state, const at::Tensor& constant,
                      const at::Tensor& slope, at::Tensor& energy,
                      const WeightGradient::TakePart& take) final {
    const std::int64_t size = state.size(0) / parts;
    const std::int64_t slices = slices_of(blocks_of(size));
    // Together: parts whose slices are as many for each thread.
    const std::int64_t most = loop_threads() / std::gcd(loop_threads(), slices);
    for (std::int64_t first = 0; first < parts; first += most) {
      std::vector<WholeBlocks> together;
      for (std::int64_t part = first; part < std::min(parts, first + most); ++part) {
        const auto of_part = [&](const at::Tensor& all) {
          return all.narrow(0, part * size, size);
        };
        together.emplace_back(block_, of_part(state), of_part(constant), of_part(slope));
      }
      add_up(together, slices);
      std::vector<std::vector<at::Tensor>> gradients(together.size());
#pragma omp parallel for num_threads(loop_threads()) schedule(static) if (together.size() > 1)
      for (std::size_t i = 0; i < together.size(); ++i) gradients[i] = finish(sums_[i]);
      for (std::size_t i = 0; i < together.size(); ++i) {
        const auto part = first + static_cast<std::int64_t>(i);
        energy.narrow(0, part * size, size).copy_(together[i].energy.narrow(0, 0, size));
        take(part, gradients[i]);
      }
    }
  }

  int working_threads(std::int64_t parts, std::int64_t states) const final {
    return static_cast<int>(
        std::min(std::int64_t{loop_threads()}, parts * slices_of(blocks_of(states))));
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
  std::int64_t blocks_of(std::int64_t states) const { return (states + block_ - 1) / block_; }

  /// Slices of so many blocks, the same whatever the number of threads: their sums are added up in
  /// order.
  static std::int64_t slices_of(std::int64_t blocks) {
    constexpr std::int64_t most = 64;
    return std::clamp<std::int64_t>((blocks + 1) / 2, 1, most);
  }

  /// Fills the first sums with those of parts that have the same number of blocks.
  void add_up(const std::vector<WholeBlocks>& parts, std::int64_t slices) {
    const auto all = static_cast<std::int64_t>(parts.size()) * slices;
    const std::int64_t blocks = parts.front().count, threads = loop_threads(),
                       busy = std::min(threads, all);
    const auto make_sums = [&] { return GradientSums(sum_sizes()); };
    fill_up(workspaces_, busy, [&] { return make_workspace(); });
    fill_up(sums_, static_cast<std::int64_t>(parts.size()), make_sums);
    if (slices > 1) fill_up(slice_sums_, busy, make_sums);
#pragma omp parallel for num_threads(static_cast <int>(threads)) ordered schedule(static, 1)
    for (std::int64_t i = 0; i < all; ++i) {
      const auto thread = static_cast<std::size_t>(omp_get_thread_num()),
                 part = static_cast<std::size_t>(i / slices);
      const std::int64_t slice = i % slices;
      GradientSums& sums = slice == 0 ? sums_[part] : slice_sums_[thread];
      sums.clear();
      for (std::int64_t block = slice * blocks / slices; block < (slice + 1) * blocks / slices;
           ++block) {
        add_block(workspaces_[thread], parts[part].at(block), sums);
      }
#pragma omp ordered
      if (slice > 0) sums_[part].add(sums);
    }
  }

  std::int64_t block_;
  std::vector<Workspace> workspaces_;     // one for each thread
  std::vector<GradientSums> sums_;        // of each part: of its first slice, then of all
  std::vector<GradientSums> slice_sums_;  // of a further slice, one for each thread
};

}  // namespace stanley
