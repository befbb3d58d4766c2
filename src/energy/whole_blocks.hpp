#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

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
              const at::Tensor& slopes);

  Block at(std::int64_t i) const;

  /// To energy [n].
  void store_energies(at::Tensor& to) const;
};

}  // namespace stanley
