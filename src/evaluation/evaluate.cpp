#include "evaluation/evaluate.hpp"

#include <ATen/core/Tensor.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <mutex>
#include <optional>

#include "data/dataset.hpp"
#include "evaluation/diversity.hpp"
#include "evaluation/features.hpp"
#include "evaluation/judge.hpp"
#include "evaluation/kept_reference.hpp"
#include "evaluation/opened.hpp"
#include "evaluation/pairs.hpp"
#include "evaluation/row_progress.hpp"
#include "evaluation/trained_parts.hpp"
#include "parallel/agree.hpp"
#include "parallel/threads.hpp"
#include "run/stopwatch.hpp"
#include "sampling/setup.hpp"
#include "storage/data_file.hpp"

namespace stanley {
namespace {

namespace fs = std::filesystem;

/// Where the reference comes from: held-out images of the run's data unless told otherwise.
DataConfig reference_config(const EvaluationRequest& request, const DataConfig& of_run) {
  DataConfig data = of_run;
  if (request.data) {
    data.type = DataType::file;
    data.path = *request.data;
  }
  data.split = request.split.value_or("test");
  data.samples = request.reference;
  return data;
}

/// One rank. Throws Error(configuration) where a data file hasn't the split.
void check_split(const DataConfig& data) {
  if (data.type != DataType::file) return;
  const DataFile file(data.path);
  if (std::ranges::find(file.splits(), data.split) != file.splits().end()) return;
  throw Error(ExitCode::configuration,
              fmt::format("{} has no split '{}' to compare with: name one of its own with --split "
                          "({})",
                          data.path, data.split, fmt::join(file.splits(), ", ")));
}

/// The run's own list for a file of a run, else one beside the file.
std::string output_of(const std::string& file) {
  std::error_code ignored;
  const fs::path folder = fs::weakly_canonical(fs::path(file), ignored).parent_path();
  const fs::path run = folder.parent_path();
  const bool in_run = folder.filename() == "checkpoints" || folder.filename() == "samples";
  if (in_run && fs::exists(run / "run.json", ignored)) return (run / "evaluation.json").string();
  return file + ".evaluation.json";
}

/// One evaluation, from the file to its result.
class Evaluating {
 public:
  Evaluating(const EvaluationRequest& request, Session& session, Log& log)
      : request_(request), session_(session), world_(session.world()), log_(log) {
    use_threads(threads_per_rank(session), /*reproducible=*/true);
  }

  Evaluation run() {
    opened_ = open_evaluated(request_, session_);
    on_first_rank(world_, [&] {
      for (const PassedOver& one : subject_.passed_over) {
        log_.warn(fmt::format("passed over {}: {}", one.path, one.reason));
      }
      std::error_code ignored;
      output_ = request_.output.empty()
                    ? output_of(subject_.path)
                    : fs::weakly_canonical(fs::absolute(request_.output), ignored).string();
      check_list(output_);
    });
    load_reference();
    choose_features();
    agree(world_, [&] {
      sorted_ = sort_states(*subject_.states, request_.draws,
                            request_.minimum_age.value_or(subject_.config.chains.burn_in));
    });
    describe();
    TrainedParts trained(request_, opened_, dataset_, result_.protocol, output_, session_, log_);
    result_.energy = trained.used();
    DiversityPart diversity({request_, subject_, dataset_, result_.protocol, *features_}, world_,
                            log_);
    const ProgressOf progress = [&](const char* what) -> RowsDone {
      return RowProgress(log_, what, world_.size());
    };
    reference_ = kept_reference(
        *features_, {dataset_, result_.protocol.data, result_.protocol.split, reference_count_},
        world_, log_, progress);
    const ReadStates read = [&](std::int64_t first, std::int64_t count, float* out) {
      const std::lock_guard lock(file_mutex_);
      read_states(*subject_.states, sorted_, first, count, out);
    };
    const at::Tensor draws = features_of("features of states", sorted_.count, read);
    result_.classes = judge(draws, sorted_, reference_, world_, progress);
    record_part();
    if (diversity.asked()) {
      const StateRows states{sorted_.count, read, "features of states of " + subject_.path};
      result_.diversity = diversity.judge(states, sorted_, draws, reference_.features);
      record_part();
    }
    trained.add_energies(result_, read, [&](const char* what) -> RowsDone {
      return RowProgress(log_, what, /*ranks=*/1);
    });
    record_part();
    compare_denoised(trained, read);
    run_chains(trained);
    log_.info(fmt::format("recorded in {}", output_));
    return result_;
  }

 private:
  void load_reference() {
    const DataConfig data = reference_config(request_, subject_.config.data);
    on_first_rank(world_, [&] { check_split(data); });
    // Of a distribution: samples that no training of this seed has seen.
    const bool from_file = data.type == DataType::file;
    if (!from_file && request_.split && request_.further.empty()) {
      throw Error(
          ExitCode::configuration,
          fmt::format("--split {}: {} was trained on the law {}, of which fresh samples are "
                      "the reference: leave it out, or give a file with --data",
                      *request_.split, subject_.path, to_string(data.type)));
    }
    dataset_ = Dataset::load(data, subject_.config.run.seed + (from_file ? 0 : 1), world_);
    if (dataset_.shape() != subject_.states->shape()) {
      throw Error(ExitCode::configuration,
                  fmt::format("the states of {} have shape {}, the images of {} {}: give the data "
                              "that it was trained on with --data",
                              subject_.path, shape_text(subject_.states->shape()), data.path,
                              shape_text(dataset_.shape())));
    }
    reference_count_ = std::min(request_.reference, dataset_.size());
    if (reference_count_ <= neighbours_of_a_ball) {
      throw Error(ExitCode::configuration,
                  fmt::format("{} has {} images in the split '{}': a reference takes more than {}",
                              data.path, reference_count_, data.split, neighbours_of_a_ball));
    }
    Protocol& protocol = result_.protocol;
    protocol.name = request_.protocol;
    protocol.data = from_file ? fs::absolute(data.path).lexically_normal().string()
                              : std::string(to_string(data.type));
    protocol.data_digest = dataset_.digest();
    protocol.split = from_file ? data.split : "fresh";
    protocol.reference_count = reference_count_;
    protocol.range = data.range;
  }

  void choose_features() {
    Protocol& protocol = result_.protocol;
    features_.emplace(
        Features::load({.path = request_.features.empty() ? public_features : request_.features,
                        .protocol = request_.protocol,
                        .option = "--features",
                        .owner = subject_.path},
                       dataset_.shape(), protocol.range, world_));
    protocol.dimension = features_->dimension();
    const FeatureNetwork* network = features_->network();
    if (network == nullptr) {
      if (!request_.features.empty() && request_.features != "states") {
        throw Error(ExitCode::configuration,
                    fmt::format("--features {}: the states of {} are points, which are their own "
                                "features: leave it out",
                                request_.features, subject_.path));
      }
      refuse_pinned_name();
      if (request_.protocol == "public") protocol.name = "states";
      protocol.features = "states";
      return;
    }
    protocol.features = network->name();
    protocol.features_digest = network->digest();
    protocol.features_code_digest = network->code_digest();
    protocol.input = network->input();
  }

  /// The name of a protocol that is for a network, but for the default one.
  void refuse_pinned_name() const {
    if (request_.protocol == "public" || !is_pinned(request_.protocol)) return;
    throw Error(ExitCode::configuration,
                fmt::format("protocol {} means the features of a network, and the states of {} are "
                            "their own features here: leave --protocol out",
                            request_.protocol, subject_.path));
  }

  void describe() {
    result_.path = subject_.path;
    result_.kind = subject_.kind;
    result_.iteration = subject_.iteration;
    result_.states = sorted_.count;
    result_.available = subject_.states->count();
    result_.younger = sorted_.younger;
    result_.states_denoised = subject_.denoised;
    result_.chains = sorted_.chains;
    result_.shape = subject_.states->shape();
    result_.protocol.groups = sorted_.sorting.groups;
    on_first_rank(world_, [&] { result_.states_digest = subject_.states->digest(); });
  }

  /// Collective. Features [count, dimension] float64 of the subject's states, or of its energy's.
  at::Tensor features_of(const char* what, std::int64_t count, const ReadStates& read) {
    return features_->of(
        {.count = count, .read = read, .refuse_as = fmt::format("{} of {}", what, subject_.path)},
        world_, RowProgress(log_, what, world_.size()));
  }

  at::Tensor features_of(const char* what, const at::Tensor& states) {
    return features_of(what, states.size(0),
                       [&](std::int64_t first, std::int64_t count, float* out) {
                         const at::Tensor part = states.narrow(0, first, count);
                         std::copy_n(part.const_data_ptr<float>(), part.numel(), out);
                       });
  }

  /// The same states without noise, where the run or the request wants that and they have some.
  void compare_denoised(TrainedParts& trained, const ReadStates& read) {
    if (!subject_.denoised.empty()) return;
    result_.denoised = trained.denoise(sorted_, read, reference_, [&](const at::Tensor& states) {
      return features_of("features of denoised states", states);
    });
    if (result_.denoised) record_part();
  }

  /// What is asked for of chains of the trained energy; each part is recorded as it is done.
  void run_chains(TrainedParts& trained) {
    const StatesToFeatures features = [&](const at::Tensor& states) {
      return features_of("features of chains", states);
    };
    for (const std::int64_t steps : request_.fresh) {
      const auto done = std::ranges::find(result_.fresh, steps, &FreshChains::steps);
      if (done != result_.fresh.end()) continue;  // it was asked for twice
      result_.fresh.push_back(trained.run_fresh(steps, reference_, features));
      record_part();
    }
    if (request_.long_run) {
      result_.long_run = trained.run_long(*request_.long_run, reference_, features);
      record_part();
    }
    trained.forget_chains();
  }

  void record_part() {
    result_.seconds += watch_.lap();
    on_first_rank(world_, [&] { record(result_, output_); });
  }

  const EvaluationRequest& request_;
  Session& session_;
  Communicator& world_;
  Log& log_;
  Opened opened_;
  const Subject& subject_ = opened_.subject;
  Dataset dataset_;
  std::optional<Features> features_;
  std::int64_t reference_count_ = 0;
  SortedStates sorted_;
  std::mutex file_mutex_;  // HDF5 knows no threads
  std::string output_;     // on rank 0
  Reference reference_;
  Stopwatch watch_;
  Evaluation result_;
};

}  // namespace

Evaluation run_evaluation(const EvaluationRequest& request, Session& session, Log& log) {
  return Evaluating(request, session, log).run();
}

}  // namespace stanley
