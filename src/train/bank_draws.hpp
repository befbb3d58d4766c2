#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "config/config.hpp"
#include "data/dataset.hpp"
#include "sampling/describe_draws.hpp"
#include "storage/draws.hpp"
#include "train/trainer.hpp"

namespace stanley {

/// The present states of the first `samples.chains` chains of a training, without noise where
/// `samples.denoise` says so, their energies, ages and restarts, and some data samples beside them:
/// copies, that stay as they are.
class BankDraws {
 public:
  BankDraws(Trainer& trainer, const Dataset& dataset);
  BankDraws(const BankDraws&) = delete;
  BankDraws& operator=(const BankDraws&) = delete;

  /// Memory that the copies of this rank's chains take.
  static std::size_t bytes(Bank& bank, const Config& config);

  /// "DIRECTORY/draws-00000200.nc"
  std::string path(const std::string& directory) const;
  const DrawSet& set() const { return set_; }
  /// Why the states keep the sampler's noise although `samples.denoise` would take it off.
  const std::string& refused() const { return refused_; }

 private:
  at::Tensor states_;
  DrawColumns columns_;
  DrawSet set_;
  std::string refused_;
};

}  // namespace stanley
