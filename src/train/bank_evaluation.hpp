#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string>

#include "config/config.hpp"
#include "data/dataset.hpp"
#include "evaluation/features.hpp"
#include "parallel/session.hpp"
#include "parallel/shards.hpp"
#include "run/activity.hpp"
#include "run/log.hpp"
#include "run/metrics.hpp"
#include "train/trainer.hpp"

namespace stanley {

/// KID of a sample of the bank, while it is trained, to training images and to test images. The
/// sample is the first chains of each shard, about as many of each, as draws have them: without the
/// sampler's noise where `samples.denoise` says so. The same on all ranks; no bit depends on how
/// many they are, nor on their threads.
class BankEvaluation {
 public:
  /// Collective. Loads what makes features, before a run has a directory; evaluation.every must be
  /// set. What it refers to must outlive it. Errors: as Features::load(), for
  /// evaluation.features; input_output for the data file.
  BankEvaluation(const Config& config, Session& session, Log& log, Activity& activity);

  /// What its KIDs are told in: features (a digest, or "states"), and how states are denoised.
  std::string identity() const;

  /// Collective. Features of training images, and of test images where the data have some: computed
  /// or read. Before of().
  void prepare(const Dataset& training);
  bool prepared() const { return training_.features.defined(); }

  bool due(std::int64_t iteration) const { return iteration % every_ == 0; }
  /// Collective. Fills the record's kid_train, kid_test and seconds_evaluation.
  void observe(Trainer& trainer, IterationRecord& record);
  /// What observe() told, for the log: "KID·1000 863.8 to training images, ..."
  std::string text_of(const IterationRecord& record) const;

  /// Chains in the sample.
  std::int64_t chains() const { return chains_; }
  /// Collective. Features of the sample [chains, d] float64: most of what observe() costs.
  at::Tensor features_of(Trainer& trainer);

 private:
  at::Tensor counted_rows(Bank& bank);
  at::Tensor states_of(Trainer& trainer) const;
  /// Images, and what of KID depends on them alone.
  struct Images {
    at::Tensor features;     // [m, d] float64
    double mean_kernel = 0;  // over pairs of different images
  };
  Images images_of(const Dataset& images, const std::string& split, const char* what);
  std::optional<Images> test_images(const Dataset& training);
  double distance(const at::Tensor& draws, double within, const Images& images);

  Config config_;
  Communicator& world_;
  Log& log_;
  Activity& activity_;
  std::int64_t every_, chains_, counted_ = 0;  // chains of the sample; of the last comparison
  Shards shards_;
  Features features_;
  Images training_;
  std::optional<Images> test_;
};

}  // namespace stanley
