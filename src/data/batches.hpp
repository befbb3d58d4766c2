#pragma once

#include <cstdint>
#include <span>

#include "config/config.hpp"
#include "data/dataset.hpp"
#include "kernels/chain_update.hpp"

namespace stanley {

/// The data batches of a training: which samples, in which order, with which noise. A function of
/// (seed, attempt, iteration, samples seen, position) alone.
class Batches {
 public:
  /// `dataset` must outlive the batches. `box`: noisy data is projected into it.
  Batches(const Dataset& dataset, const Config& config, std::uint32_t attempt);

  /// Positions first … first+count−1 of the global batch of `iteration`, which `seen` samples went
  /// before, to out [count, dimension]: a sample of a keyed permutation of the data set per epoch,
  /// mirrored with probability ½ where `data.flip`, plus fresh noise, projected into the box.
  void fill(std::int64_t iteration, std::int64_t seen, std::int64_t first, std::int64_t count,
            float* out) const;

  /// The same samples without noise, to clean [count, dimension], and with other noise, to noised:
  /// of standard deviation `deviations[i]` at position first+i, projected into the box.
  void fill_noised(std::int64_t iteration, std::int64_t seen, std::int64_t first,
                   std::span<const double> deviations, float* clean, float* noised) const;

  /// The sample that is drawn when `seen` samples have been: position `seen` modulo the size of
  /// epoch `seen` / size.
  std::int64_t sample_index(std::int64_t seen) const;

 private:
  void fill_clean(std::int64_t iteration, std::int64_t seen, std::int64_t first, std::int64_t count,
                  float* out) const;

  const Dataset& dataset_;
  DataConfig config_;
  std::uint32_t seed_, attempt_;
  /// A chain step without drift is just what is needed: noise, then the projection into the box.
  Update noise_;
};

}  // namespace stanley
