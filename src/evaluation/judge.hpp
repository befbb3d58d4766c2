#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "evaluation/pairs.hpp"
#include "evaluation/result.hpp"
#include "evaluation/subject.hpp"

namespace stanley {

/// Collective. The distances of the draws' features [n, d] float64, the same on all ranks, to the
/// reference: of all, then of each class of ages where there are several; on rank 0, empty on
/// others. A number for which there are too few states or images is missing, with a remark.
std::vector<ClassResult> judge(const at::Tensor& draws, const SortedStates& states,
                               const Reference& reference, Communicator& communicator,
                               const ProgressOf& progress = {});

}  // namespace stanley
