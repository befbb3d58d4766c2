#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "data/dataset.hpp"
#include "evaluation/chain_run.hpp"
#include "evaluation/kept_chains.hpp"
#include "evaluation/opened.hpp"
#include "evaluation/pairs.hpp"
#include "evaluation/result.hpp"
#include "evaluation/weights.hpp"
#include "run/log.hpp"

namespace stanley {

/// Collective. Features [n, dimension] float64 of states [n, shape...], the same on all ranks.
using StatesToFeatures = std::function<at::Tensor(const at::Tensor& states)>;

/// The parts of an evaluation that take the trained energy: energies, fresh chains, long runs.
/// Where its weights aren't there and nothing of this was asked for, the only part is a remark.
class TrainedParts {
 public:
  /// Collective. Takes the energy and reads the data sets, so that what is missing is told before
  /// anything is computed. `reference`: of the held-out data, with what the protocol says of it.
  /// `output`: the list of results, as rank 0 knows it; chains that run are kept beside it. All
  /// must outlive it. Errors: input_output where files aren't there; configuration where further
  /// data have states of another shape.
  TrainedParts(const EvaluationRequest& request, Opened& opened, const Dataset& reference,
               const Protocol& protocol, const std::string& output, Session& session, Log& log);

  /// What the parts are computed with; none where the weights aren't there.
  std::optional<EnergyUsed> used() const {
    return energy_ ? std::optional(energy_->used) : std::nullopt;
  }

  /// Collective. Energies of training data, reference, the first `states` states of the subject (by
  /// `read`), noise and further data.
  void add_energies(Evaluation& result, const ReadStates& read, const ProgressOf& progress);
  /// Collective. Distances of the sorted states (by `read`) once their noise is taken off; none
  /// where neither the run nor the request has it so.
  std::optional<Denoised> denoise(const SortedStates& states, const ReadStates& read,
                                  const Reference& reference, const StatesToFeatures& features);
  /// Collective. Distances of chains that start afresh and take so many steps; and once their noise
  /// is taken off, as above.
  FreshChains run_fresh(std::int64_t steps, const Reference& reference,
                        const StatesToFeatures& features);
  /// Collective. Chains from bank, data and noise that run on.
  LongRun run_long(std::int64_t steps, const Reference& reference,
                   const StatesToFeatures& features);
  /// Collective. Removes the chains that were kept, once all parts are recorded: until then a part
  /// that is done costs the same command no chain steps.
  void forget_chains();

 private:
  /// Data of which energies are told.
  struct Data {
    std::string name, path, split;
    Dataset samples;
  };
  struct States {
    EnergySet set;
    std::int64_t count;
    ReadStates read;
  };

  bool starts_from_data() const;
  void load_training();
  void load_further(const std::string& path);
  void prepare_denoiser();
  States states_of(const std::string& name, const std::string& path, const std::string& split,
                   const Dataset& samples) const;
  States noise(std::int64_t count) const;
  std::vector<States> all_states(const Evaluation& result, const ReadStates& read) const;
  const Dataset& training_or_throw() const;
  KeptChains kept_chains(const std::string& part, std::int64_t steps, ChainRun& run);
  nlohmann::json take_up(const std::string& part, const KeptChains& kept, ChainRun& run);
  void start_long_run(ChainRun& run, std::int64_t each);
  bool add_points(LongRun& result, ChainRun& run, const Reference& reference,
                  const StatesToFeatures& features) const;

  const EvaluationRequest& request_;
  const Subject& subject_;
  const Dataset& reference_;
  const Protocol& protocol_;
  const std::string& output_;
  Communicator& world_;
  Log& log_;
  std::optional<SubjectEnergy> energy_;
  std::optional<Denoiser> denoiser_;  // where it is asked for and of use
  std::optional<Data> training_;
  std::vector<Data> further_;
  std::vector<std::string> remarks_;
  std::vector<std::string> kept_;  // files
};

}  // namespace stanley
