#pragma once

#include "evaluation/features.hpp"
#include "evaluation/pairs.hpp"

namespace stanley {

/// Collective. make_reference() of these images, whose features are of_reference(): what follows
/// from them alone is kept beside the data file as they are, so that it is made once.
Reference kept_reference(const Features& features, const ReferenceImages& images,
                         Communicator& communicator, Log& log, const ProgressOf& progress);

}  // namespace stanley
