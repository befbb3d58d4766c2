#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

#include "data/dataset.hpp"
#include "evaluation/diversity_record.hpp"
#include "evaluation/features.hpp"
#include "evaluation/nearest.hpp"
#include "evaluation/result.hpp"
#include "evaluation/subject.hpp"
#include "parallel/communicator.hpp"
#include "run/log.hpp"

namespace stanley {

/// Distances of states beside those of a reference, both to the nearest of the same images.
NearestDistances compare_nearest(const Nearest& states, const Nearest& reference);

/// The classes of the states and of the reference by a classifier, and their nearest training
/// images: where --classifier, --neighbours or features of a classifier ask for it.
class DiversityPart {
 public:
  /// What all is about; it outlives this object.
  struct About {
    const EvaluationRequest& request;
    const Subject& subject;
    const Dataset& reference;  ///< the first protocol.reference_count images
    const Protocol& protocol;
    const Features& features;
  };

  /// Collective. Loads classifier and training images. Errors: as Features::load(); configuration
  /// where the classifier is for images of another shape or of other classes, where there are fewer
  /// training images than are asked for, or where the reference is their split.
  DiversityPart(const About& about, Communicator& communicator, Log& log);

  /// Whether anything was asked for.
  bool asked() const { return classifier() != nullptr || training_.has_value(); }

  /// Collective. `states` gives the states, `draws` are their features and `images` those of the
  /// reference, [n, dimension] float64, the same on all ranks. No bit depends on ranks or threads.
  Diversity judge(const StateRows& states, const SortedStates& sorted, const at::Tensor& draws,
                  const at::Tensor& images);

 private:
  const FeatureNetwork* classifier() const;
  void load_classifier();
  bool other_classes(const FeatureNetwork& network) const;
  void load_training();
  ClassesFound classes(const StateRows& states, const SortedStates& sorted, const at::Tensor& draws,
                       const at::Tensor& images);
  NeighboursFound neighbours(const SortedStates& sorted, const at::Tensor& draws,
                             const at::Tensor& images);

  About about_;
  Communicator& world_;
  Log& log_;
  std::optional<Features> own_features_;  // of --classifier
  bool features_tell_classes_ = false;    // --features is a classifier of these images
  std::optional<Dataset> training_;
  std::string training_split_;
};

}  // namespace stanley
