#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "config/config.hpp"
#include "run/metrics.hpp"
#include "storage/checkpoint.hpp"
#include "train/band.hpp"
#include "train/chain_motion.hpp"

namespace stanley {

/// What the guard saw that must not go on.
struct Divergence {
  std::string seen;    ///< with numbers: "the gap is 812, 40 running deviations from ..."
  std::string advice;  ///< what to change in the configuration
};

/// Watches a training for divergence (design, "Diverge"): numbers that are not finite, at once; a
/// gap or a gradient norm far out of its running band, chains that all became alike or stick to the
/// box, or that the energy left behind, when they stay so for `guard.patience` iterations. A
/// function of the records alone, the same on all ranks; its state goes into checkpoints.
class Guard {
 public:
  Guard(const GuardConfig& config, const ChainScale& chains) : config_(config), scale_(chains) {}

  /// Takes the next iteration's record; what is wrong, if it may not go on.
  std::optional<Divergence> observe(const IterationRecord& record);

  void add_to(Progress& progress) const;
  /// A checkpoint without a guard's numbers leaves it new.
  void restore(const Progress& progress);

 private:
  std::optional<Divergence> judge(const IterationRecord& record) const;

  GuardConfig config_;
  ChainScale scale_;
  Band gap_, gradient_;   // of the gap, and of the logarithm of the gradient's norm
  Band reach_;            // of the energy of noise above that of data
  bool kept_up_ = false;  // whether the chains ever kept up with the energy
  std::int64_t out_ = 0;  // iterations in a row that were out of band
};

}  // namespace stanley
