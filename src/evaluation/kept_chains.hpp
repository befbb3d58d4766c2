#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "evaluation/chain_run.hpp"
#include "parallel/communicator.hpp"

namespace stanley {

/// Chains of an evaluation as they were at some step, in a file beside its list of results: the
/// same command goes on from there where it was cut off. The file's name ends in the digest of all
/// that its bits depend on, so that other settings find another file.
class KeptChains {
 public:
  /// `output`: the list of results; rank 0 alone needs to know it.
  KeptChains(const std::string& output, const std::string& depends_on);

  const std::string& path() const { return path_; }

  /// Collective. Puts the chains where they were when they were kept, by any number of ranks, and
  /// returns what was noted then; null where the file isn't there, or isn't whole.
  nlohmann::json take_up(ChainRun& run, Communicator& communicator) const;
  /// Collective. Errors: input_output.
  void keep(ChainRun& run, const nlohmann::json& noted, Communicator& communicator) const;

 private:
  std::string path_;
};

}  // namespace stanley
