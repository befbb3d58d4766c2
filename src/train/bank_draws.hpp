#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "config/config.hpp"
#include "data/dataset.hpp"
#include "sampling/describe_draws.hpp"
#include "storage/draws.hpp"
#include "train/trainer.hpp"

namespace stanley {

/// The present states of the first `samples.chains` chains of a training, their energies, ages and
/// restarts, and some data samples beside them: copies, that stay as they are.
class BankDraws {
 public:
  BankDraws(Trainer& trainer, const Dataset& dataset, const Config& config);
  BankDraws(const BankDraws&) = delete;
  BankDraws& operator=(const BankDraws&) = delete;

  /// Memory that the copies of this rank's chains take.
  static std::size_t bytes(Bank& bank, const Config& config);

  /// "DIRECTORY/draws-00000200.nc"
  std::string path(const std::string& directory) const;
  const DrawSet& set() const { return set_; }

 private:
  at::Tensor states_;
  DrawColumns columns_;
  DrawSet set_;
};

}  // namespace stanley
