#pragma once

#include <ATen/core/Tensor.h>
#include <omp.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "kernels/loop_threads.hpp"

namespace stanley {

/// A batch of states, and where their energies and gradients go.
struct StateBatch {
  /// As GradientEngine::evaluate() takes them.
  StateBatch(const at::Tensor& state, at::Tensor& energy, at::Tensor* gradient)
      : count(state.size(0)),
        elements(count == 0 ? 0 : state.numel() / count),
        states(state.const_data_ptr<float>()),
        energies(energy.mutable_data_ptr<double>()),
        gradients(gradient == nullptr ? nullptr : gradient->mutable_data_ptr<float>()) {}

  std::int64_t count, elements;
  const float* states;
  double* energies;
  float* gradients;  ///< null: none are wanted

  /// The states from `first` to before `end`.
  StateBatch part(std::int64_t first, std::int64_t end) const {
    StateBatch some = *this;
    some.count = end - first;
    some.states += first * elements;
    some.energies += first;
    if (gradients != nullptr) some.gradients += first * elements;
    return some;
  }
};

/// Fills up to so many; those that it lacks come from make().
template <typename Element, typename Make>
void fill_up(std::vector<Element>& elements, std::int64_t count, const Make& make) {
  while (elements.size() < static_cast<std::size_t>(count)) elements.push_back(make());
}

/// Works on the batch in blocks of at most `most` states over our loops' threads, of about the same
/// size and as many for each thread: a few states give work to several. Calls evaluate(workspace,
/// block). `workspaces` has one for each thread; those that it lacks come from
/// make_workspace().
template <typename Workspace, typename MakeWorkspace, typename Evaluate>
void evaluate_in_blocks(std::int64_t most, const StateBatch& batch,
                        std::vector<Workspace>& workspaces, const MakeWorkspace& make_workspace,
                        const Evaluate& evaluate) {
  const int threads = loop_threads();
  const std::int64_t round = most * threads;
  const std::int64_t blocks = std::min(batch.count, (batch.count + round - 1) / round * threads);
  fill_up(workspaces, std::min<std::int64_t>(threads, blocks), make_workspace);
#pragma omp parallel for num_threads(threads) schedule(static)
  for (std::int64_t i = 0; i < blocks; ++i) {
    evaluate(workspaces[static_cast<std::size_t>(omp_get_thread_num())],
             batch.part(i * batch.count / blocks, (i + 1) * batch.count / blocks));
  }
}

/// One thread's part of work on one block of states: all of it, or some rows of each step where
/// several threads do it together.
struct Share {
  std::int64_t rank = 0, size = 1;
  bool together = false;

  /// Of `rows` rows: from first() to before end().
  std::int64_t first(std::int64_t rows) const { return rows * rank / size; }
  std::int64_t end(std::int64_t rows) const { return rows * (rank + 1) / size; }

  /// Waits for what the others make in this step. All threads of a parallel region take as many
  /// steps, whichever block they work on.
  void meet() const {
    if (together) {
#pragma omp barrier
    }
  }
};

/// Which blocks a thread works on: each `threads`-th one from its own number on, alone; and a part
/// of one of the last blocks, if these are so few that several threads have to share each.
struct BlockPlan {
  std::int64_t alone;   ///< blocks before the shared ones
  std::int64_t shared;  ///< the block that this thread has a part of; -1: none
  Share share;          ///< and which

  static BlockPlan of(std::int64_t blocks, std::int64_t threads, std::int64_t thread) {
    const std::int64_t last = blocks % threads;
    if (2 * last > threads || last == 0) return {blocks, -1, {}};
    // The first thread of the last blocks' i-th one.
    const auto first = [&](std::int64_t i) { return (i * threads + last - 1) / last; };
    const std::int64_t i = thread * last / threads;
    return {blocks - last,
            blocks - last + i,
            {.rank = thread - first(i), .size = first(i + 1) - first(i), .together = true}};
  }
};

}  // namespace stanley
