#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "evaluation/pairs.hpp"
#include "evaluation/result.hpp"
#include "evaluation/subject.hpp"

namespace stanley {

/// One rank. The distances of the draws' features [n, d] float64 to the reference: of all, then of
/// each class of ages where there are several. A number for which there are too few states or
/// images is missing, with a remark.
std::vector<ClassResult> judge(const at::Tensor& draws, const SortedStates& states,
                               const Reference& reference, const PairTable& table);

}  // namespace stanley
