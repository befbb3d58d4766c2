#pragma once

#include "evaluation/result.hpp"
#include "parallel/session.hpp"
#include "run/log.hpp"

namespace stanley {

/// Collective. Compares the states of a checkpoint's bank or of a draw file with held-out images in
/// the features of a network (states that are points: with themselves as features), as a whole and
/// by the ages of their chains. The same bits for any number of ranks and threads. Rank 0 records
/// the result. Errors: as design §6.
Evaluation run_evaluation(const EvaluationRequest& request, Session& session, Log& log);

}  // namespace stanley
