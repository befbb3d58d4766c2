#include "energy/whole_blocks.hpp"

#include <ATen/ATen.h>

namespace stanley {

WholeBlocks::WholeBlocks(std::int64_t block_of, const at::Tensor& states,
                         const at::Tensor& constants, const at::Tensor& slopes)
    : block(block_of), count((states.size(0) + block - 1) / block) {
  const at::Tensor index = at::arange(count * block), is_state = index < states.size(0),
                   from = index.clamp_max(states.size(0) - 1);
  state = states.index_select(0, from);
  constant = constants.index_select(0, from) * is_state;
  slope = slopes.index_select(0, from) * is_state;
  energy = at::empty({count * block});
}

WholeBlocks::Block WholeBlocks::at(std::int64_t i) const {
  const std::int64_t first = i * block, elements = state.numel() / state.size(0);
  return {state.const_data_ptr<float>() + first * elements,
          constant.const_data_ptr<float>() + first, slope.const_data_ptr<float>() + first,
          energy.mutable_data_ptr<float>() + first};
}

void WholeBlocks::store_energies(at::Tensor& to) const {
  to.copy_(energy.narrow(0, 0, to.size(0)));
}

}  // namespace stanley
