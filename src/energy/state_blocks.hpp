#pragma once

#include <ATen/core/Tensor.h>
#include <omp.h>

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "energy/one_thread.hpp"

namespace stanley {

/// A network's weights as the CPU's engines take them: contiguous, by their addresses.
struct FlatWeights {
  std::vector<at::Tensor> tensors;
  std::vector<const float*> data;

  explicit FlatWeights(const std::vector<at::Tensor>& weights) {
    for (const at::Tensor& weight : weights) {
      tensors.push_back(weight.detach().contiguous());
      data.push_back(tensors.back().const_data_ptr<float>());
    }
  }
};

/// Fills energy [n] and gradient [n, state shape] of state [n, state shape] in blocks of `block`
/// states, the last of which may have fewer, over OpenMP's threads: calls
/// evaluate(workspace, count, state, energy, gradient) with the addresses of a block's first state.
/// `workspaces` has one for each thread; those that it lacks come from make_workspace().
template <typename Workspace, typename MakeWorkspace, typename Evaluate>
void evaluate_in_blocks(std::int64_t block, const at::Tensor& state, at::Tensor& energy,
                        at::Tensor& gradient, std::vector<Workspace>& workspaces,
                        const MakeWorkspace& make_workspace, const Evaluate& evaluate) {
  const std::int64_t count = state.size(0), elements = count == 0 ? 0 : state.numel() / count;
  const auto* states = state.const_data_ptr<float>();
  auto* energies = energy.mutable_data_ptr<float>();
  auto* gradients = gradient.mutable_data_ptr<float>();
  const std::int64_t blocks = (count + block - 1) / block;
  const int threads = static_cast<int>(std::min<std::int64_t>(omp_get_max_threads(), blocks));
  while (workspaces.size() < static_cast<std::size_t>(threads)) {
    workspaces.push_back(make_workspace());
  }
#pragma omp parallel num_threads(threads)
  {
    const OneThread one_thread;
#pragma omp for schedule(static)
    for (std::int64_t i = 0; i < blocks; ++i) {
      const std::int64_t first = i * block;
      evaluate(workspaces[static_cast<std::size_t>(omp_get_thread_num())],
               std::min(block, count - first), states + first * elements, energies + first,
               gradients + first * elements);
    }
  }
}

/// What add_block(workspace, block, sums) adds up over so many blocks of states, to sums that start
/// as make_sums() gives them, over OpenMP's threads. Slices of blocks, the same whatever the number
/// of threads, are added up in order by add_sums(from, to). Workspaces as above.
template <typename Workspace, typename MakeWorkspace, typename MakeSums, typename AddBlock,
          typename AddSums>
auto sum_over_blocks(std::int64_t blocks, std::vector<Workspace>& workspaces,
                     const MakeWorkspace& make_workspace, const MakeSums& make_sums,
                     const AddBlock& add_block, const AddSums& add_sums) {
  const std::int64_t slices = std::min<std::int64_t>((blocks + 1) / 2, 8);
  const int threads = static_cast<int>(std::min<std::int64_t>(omp_get_max_threads(), slices));
  while (workspaces.size() < static_cast<std::size_t>(threads)) {
    workspaces.push_back(make_workspace());
  }
  std::vector<decltype(make_sums())> sums(static_cast<std::size_t>(slices));
#pragma omp parallel num_threads(threads)
  {
    const OneThread one_thread;
#pragma omp for schedule(static)
    for (std::int64_t slice = 0; slice < slices; ++slice) {
      auto& sum = sums[static_cast<std::size_t>(slice)];
      sum = make_sums();
      for (std::int64_t block = slice * blocks / slices; block < (slice + 1) * blocks / slices;
           ++block) {
        add_block(workspaces[static_cast<std::size_t>(omp_get_thread_num())], block, sum);
      }
    }
  }
  for (std::size_t slice = 1; slice < sums.size(); ++slice) add_sums(sums[slice], sums[0]);
  return std::move(sums[0]);
}

}  // namespace stanley
