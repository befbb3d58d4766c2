#pragma once

#include <memory>

#include "chains/bank.hpp"
#include "config/config.hpp"
#include "data/dataset.hpp"

namespace stanley {

/// Where chains start (`chains.start`): uniform in the box; standard normal, projected into it; a
/// data sample; or a Gaussian fitted to the data, of a class chosen at random where there are
/// labels. `dataset` must outlive the result. `uniform` without a box fills `data.range`.
StartState make_start_state(const Config& config, const Dataset& dataset, std::uint32_t attempt);

}  // namespace stanley
