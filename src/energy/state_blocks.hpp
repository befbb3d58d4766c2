#pragma once

#include <ATen/core/Tensor.h>
#include <omp.h>

#include <algorithm>
#include <cstdint>
#include <vector>

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

/// Tensors like those, to be filled by their addresses.
struct FlatGradients {
  std::vector<at::Tensor> tensors;
  std::vector<float*> data;

  explicit FlatGradients(const std::vector<at::Tensor>& weights) {
    for (const at::Tensor& weight : weights) {
      tensors.push_back(weight.new_empty(weight.sizes()));
      data.push_back(tensors.back().mutable_data_ptr<float>());
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
#pragma omp parallel for num_threads(threads) schedule(static)
  for (std::int64_t i = 0; i < blocks; ++i) {
    const std::int64_t first = i * block;
    evaluate(workspaces[static_cast<std::size_t>(omp_get_thread_num())],
             std::min(block, count - first), states + first * elements, energies + first,
             gradients + first * elements);
  }
}

}  // namespace stanley
