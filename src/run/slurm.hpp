#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "parallel/launcher.hpp"

namespace stanley {

/// Whether Slurm says that this job of ours has ended; a Slurm that can't be asked says nothing.
bool slurm_job_has_ended(const std::string& job);

/// When Slurm will end the job that this process is part of: SLURM_JOB_END_TIME, or squeue's answer
/// where Slurm is too old to set it. None outside of Slurm, without a time limit, or if that time
/// has passed.
std::optional<std::chrono::system_clock::time_point> slurm_job_end(const Environment& environment);

}  // namespace stanley
