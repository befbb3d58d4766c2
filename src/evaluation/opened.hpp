#pragma once

#include <optional>
#include <string>

#include "evaluation/result.hpp"
#include "evaluation/subject.hpp"
#include "evaluation/weights.hpp"
#include "parallel/session.hpp"

namespace stanley {

/// What an evaluation has of a run that may be alive: its states are open and its weights are read,
/// and stay so where the run takes the checkpoint away.
struct Opened {
  Subject subject;
  std::optional<SubjectEnergy> energy;
  std::string without_energy;  ///< why there is none
};

/// Collective. Opens what the request names. Where the run meanwhile took away what its newest
/// checkpoint was, or a link led to, the one that is it now is taken. Errors: as open_subject(),
/// and as open_energy() where the request takes the energy; else their reason is kept.
Opened open_evaluated(const EvaluationRequest& request, Session& session);

}  // namespace stanley
