#pragma once

#include <array>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "evaluation/diversity_record.hpp"
#include "evaluation/energies.hpp"
#include "evaluation/feature_input.hpp"
#include "evaluation/long_run.hpp"

namespace stanley {

/// What a person asks of `stanley evaluate`.
struct EvaluationRequest {
  std::string path;                        ///< a run directory, a checkpoint or a draw file
  std::optional<std::string> data, split;  ///< of the reference, in place of the run's own
  std::string protocol = "public";         ///< its name in the results
  std::string features;                    ///< a feature network's module; empty: the default
  std::int64_t draws = 10000;              ///< at most so many states
  std::int64_t reference = 2048;           ///< at most so many images
  std::string classifier;  ///< a feature network that tells classes; empty: none, or `features`
  /// Leave younger states out, in steps; none: those that the training left out of its loss.
  std::optional<std::int64_t> minimum_age;
  std::int64_t neighbours = 0;  ///< search the nearest of so many training images
  std::string output;           ///< empty: evaluation.json of the run, or beside the file

  // What takes the trained energy.
  std::optional<std::string> weights;    ///< "average" or "last"
  std::vector<std::string> further;      ///< data files whose energies are told too
  std::vector<std::int64_t> fresh;       ///< steps of chains that start afresh
  std::optional<std::int64_t> long_run;  ///< steps of chains from bank, data and noise
  std::optional<std::int64_t> chains;    ///< of either, from each start
  std::optional<std::int64_t> denoise;   ///< noise-free steps; none: as the run's samples.denoise

  bool takes_energy() const {
    return weights || !further.empty() || !fresh.empty() || long_run || denoise.value_or(0) > 0;
  }
};

/// What a number was computed from: stands beside it in the results.
struct Protocol {
  std::string name, features;  ///< features: "states" where they are their own
  std::string features_digest, features_code_digest;
  std::int64_t dimension = 0;
  std::optional<FeatureInput> input;  ///< of the network
  std::string data, data_digest, split;
  std::int64_t reference_count = 0;
  std::array<double, 2> range{-1, 1};
  std::int64_t groups = 1;  ///< of the jackknife
};

/// Distances of some draws to the reference; none where there are too few for a number.
struct ClassResult {
  std::string name;  ///< "all", or "ages 120 to 379"
  std::int64_t states = 0;
  std::array<std::int64_t, 2> ages{0, 0};  ///< the youngest and the oldest
  std::optional<double> kid, kid_low, kid_high;
  std::optional<double> fid, fid_extrapolated;
  std::optional<double> precision, recall, density, coverage;
  std::vector<std::string> remarks;  ///< which numbers are missing, and why
};

/// Distances of chains that were started as the training starts them.
struct FreshChains {
  std::int64_t steps = 0, chains = 0;
  std::string start;  ///< as `chains.start`
  Mean energy{};
  ClassResult result{};
  std::optional<ClassResult> denoised{};  ///< without the noise of their sampler
  double seconds = 0;
};

/// Distances of the same states without the noise of their sampler.
struct Denoised {
  std::string how;  ///< in words
  std::vector<ClassResult> classes;
  double seconds = 0;
};

/// What was evaluated, how, and what came out.
struct Evaluation {
  std::string path, kind;  ///< the file; "checkpoint" or "draws"
  std::optional<std::int64_t> iteration;
  std::int64_t states = 0, available = 0, chains = 0;
  std::int64_t younger = 0;     ///< states that were passed over for their age
  std::string states_denoised;  ///< how the file's own states are; empty: they have their noise
  std::vector<std::int64_t> shape;
  std::string states_digest;  ///< of all states and ages of the file
  Protocol protocol;
  std::vector<ClassResult> classes;  ///< all first, then by age
  std::optional<EnergyUsed> energy;  ///< of all that follows
  std::optional<EnergyReport> energies;
  std::optional<Denoised> denoised;
  std::vector<FreshChains> fresh;
  std::optional<LongRun> long_run;
  Diversity diversity;
  double seconds = 0;
};

nlohmann::ordered_json as_json(const Protocol& protocol);

/// One line for each class, for people.
std::string as_text(const Evaluation& evaluation);

/// One rank. Throws Error(input_output) unless record() may write there, as far as one can know
/// before: a list of results or nothing is there, in a folder that can be written.
void check_list(const std::string& output);

/// One rank. Puts the result into a list of results, in place of an older one of the same file and
/// protocol. Of that it keeps what the same states, and of what takes the energy the same weights,
/// gave and the new one has not. Errors: input_output where the file is there and is no such list.
void record(const Evaluation& evaluation, const std::string& output);

}  // namespace stanley
