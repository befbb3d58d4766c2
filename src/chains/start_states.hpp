#pragma once

#include <cstdint>
#include <functional>

#include "chains/bank.hpp"
#include "config/config.hpp"
#include "data/dataset.hpp"

namespace stanley {

/// Where chains start (`chains.start`): uniform in the box; standard normal, projected into it; a
/// data sample; or a Gaussian fitted to the data, of a class chosen at random where there are
/// labels; where `chains.start` names several of them, each chain from the one that its number
/// picks. `dataset` must outlive the result. `uniform` without a box fills `data.range`.
/// `progressed` is told of each batch that is filled, and of each Gaussian that is fitted before
/// the first one.
StartState make_start_state(const Config& config, const Dataset& dataset, std::uint32_t attempt,
                            std::function<void()> progressed = {});

}  // namespace stanley
