#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "evaluation/row_blocks.hpp"
#include "parallel/communicator.hpp"

namespace stanley {

/// The nearest of some images to each of n samples.
struct Nearest {
  at::Tensor distances;  ///< [n] float64; infinite where there is none
  at::Tensor indices;    ///< [n] int64; −1 where there is none
};

/// Searches the nearest image, by the Euclidean distance of features, to each sample, while images
/// come in parts: memory holds one part and 8 MiB for each thread. No bit depends on ranks or
/// threads; a distance of 0 means equal features.
class NearestSearch {
 public:
  /// Samples [n, d] float64, the same on all ranks. `owners` [n] int64, if any: a sample and an
  /// image of one owner are no pair.
  explicit NearestSearch(const at::Tensor& samples, const at::Tensor& owners = {});

  /// Images [m, d] float64, the same on all ranks, which share the samples among them; `first` is
  /// the number of the first one, 0 in the first part. Each call has the same `communicator`. Not
  /// collective.
  void add(const at::Tensor& images, std::int64_t first, const Communicator& communicator,
           const at::Tensor& owners = {}, const RowsDone& done = {});

  /// Collective. After the last part, once.
  Nearest finish(Communicator& communicator);

 private:
  void add_to(const RowBlock& rows, const at::Tensor& images, const at::Tensor& squared_norms,
              std::int64_t first, const at::Tensor& owners);

  at::Tensor samples_, owners_;
  at::Tensor distances_, indices_;  // of this rank's rows; zero on other ranks' until finish()
};

/// Collective. The nearest other one among samples [n, d] float64 of different owners [n] int64.
Nearest nearest_others(const at::Tensor& samples, const at::Tensor& owners,
                       Communicator& communicator);

}  // namespace stanley
