#include "evaluation/evaluate.hpp"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/version.h>

#include <algorithm>
#include <filesystem>
#include <mutex>
#include <optional>
#include <span>

#include "data/dataset.hpp"
#include "evaluation/feature_cache.hpp"
#include "evaluation/feature_network.hpp"
#include "evaluation/judge.hpp"
#include "evaluation/pairs.hpp"
#include "evaluation/row_blocks.hpp"
#include "evaluation/subject.hpp"
#include "evaluation/trained_parts.hpp"
#include "parallel/agree.hpp"
#include "parallel/threads.hpp"
#include "run/stopwatch.hpp"
#include "sampling/setup.hpp"
#include "storage/data_file.hpp"

namespace stanley {
namespace {

namespace fs = std::filesystem;

constexpr const char* default_features = ".data/features/efficientnet-lite0.pt";
constexpr std::int64_t states_at_once = 32;  // that go through the feature network

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

/// Says every few seconds how far the ranks have come, as this one has.
class Progress {
 public:
  Progress(Log& log, const char* what, int ranks) : log_(log), what_(what), ranks_(ranks) {}

  void operator()(std::int64_t done, std::int64_t mine) {
    passed_ += watch_.lap();
    if (passed_ < due_) return;
    due_ = passed_ + 5;
    const double rate = static_cast<double>(done) / passed_;
    log_.info(fmt::format("{}: {} of {} | {:.0f}/s | {} left", what_, done * ranks_, mine * ranks_,
                          rate * ranks_, duration_text(static_cast<double>(mine - done) / rate)));
  }

 private:
  Log& log_;
  const char* what_;
  int ranks_;
  Stopwatch watch_;
  double passed_ = 0, due_ = 5;  // seconds
};

/// One evaluation, from the file to its result.
class Evaluating {
 public:
  Evaluating(const EvaluationRequest& request, Session& session, Log& log)
      : request_(request), session_(session), world_(session.world()), log_(log) {
    use_threads(threads_per_rank(session), /*reproducible=*/true);
  }

  Evaluation run() {
    subject_ = open_subject(request_.path, world_);
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
    agree(world_, [&] { sorted_ = sort_states(*subject_.states, request_.draws); });
    describe();
    TrainedParts trained(request_, subject_, dataset_, result_.protocol, session_, log_);
    result_.energy = trained.used();
    const at::Tensor images = reference_features();
    const ReadStates read = [&](std::int64_t first, std::int64_t count, float* out) {
      const std::lock_guard lock(file_mutex_);
      subject_.states->read(first, count, out);
    };
    compare(features_of("features of states", sorted_.count, read), images);
    record_part();
    trained.add_energies(result_, read, [&](const char* what) -> RowsDone {
      return Progress(log_, what, /*ranks=*/1);
    });
    record_part();
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
    protocol.data = from_file ? data.path : to_string(data.type);
    protocol.data_digest = dataset_.digest();
    protocol.split = from_file ? data.split : "fresh";
    protocol.reference_count = reference_count_;
    protocol.range = data.range;
  }

  void choose_features() {
    Protocol& protocol = result_.protocol;
    const bool points = dataset_.shape().size() == 1;
    if (points || request_.features == "states") {
      if (request_.protocol == "public") protocol.name = "states";
      protocol.features = "states";
      protocol.dimension = dataset_.dimension();
      return;
    }
    const std::string path = request_.features.empty() ? default_features : request_.features;
    network_.emplace(FeatureNetwork::load(path, request_.protocol, world_));
    const std::int64_t channels = dataset_.shape()[0];
    if (channels != 1 && channels != network_->input().channels) {
      throw Error(ExitCode::configuration,
                  fmt::format("the feature network {} takes {} channels, and the states of {} have "
                              "{}: give one that fits with --features",
                              path, network_->input().channels, subject_.path, channels));
    }
    protocol.features = network_->name();
    protocol.features_digest = network_->digest();
    protocol.dimension = network_->dimension();
    protocol.input = network_->input();
  }

  void describe() {
    result_.path = subject_.path;
    result_.kind = subject_.kind;
    result_.iteration = subject_.iteration;
    result_.states = sorted_.count;
    result_.available = subject_.states->count();
    result_.chains = sorted_.chains;
    result_.shape = subject_.states->shape();
    result_.protocol.groups = sorted_.sorting.groups;
  }

  /// States as their own features [n, dimension]: their data's range becomes −1 to 1, so that the
  /// kernel doesn't depend on their unit.
  at::Tensor as_features(const at::Tensor& states) const {
    const auto& [low, high] = result_.protocol.range;
    return ((states - (low + high) / 2) / ((high - low) / 2)).reshape({states.size(0), -1});
  }

  void require_finite(const at::Tensor& states, const at::Tensor& features, const char* what,
                      std::int64_t first) const {
    if (features.isfinite().all().item<bool>() && states.isfinite().all().item<bool>()) return;
    throw FileError(
        fmt::format("{} of {}, {} and those that follow: not all are finite numbers, and "
                    "nothing can be said of them",
                    what, subject_.path, first));
  }

  /// Collective. Features [count, dimension] float64 of the states that `read` gives.
  at::Tensor features_of(
      const char* what, std::int64_t count,
      const std::function<void(std::int64_t first, std::int64_t count, float* out)>& read) {
    const at::Tensor all = at::zeros({count, result_.protocol.dimension}, at::kDouble);
    std::vector<std::int64_t> shape = dataset_.shape();
    shape.insert(shape.begin(), 0);
    agree(world_, [&] {
      for_each_row_block(
          count, states_at_once, world_,
          [&](const RowBlock& rows) {
            // Always as many: what a network makes of a state may depend on the size of its batch.
            std::vector<std::int64_t> batch = shape;
            batch[0] = network_ ? states_at_once : rows.count;
            const at::Tensor states = at::zeros(batch, at::kFloat);
            read(rows.first, rows.count, states.mutable_data_ptr<float>());
            const at::Tensor features =
                network_ ? network_->features(states, result_.protocol.range) : as_features(states);
            require_finite(states, features, what, rows.first);
            all.narrow(0, rows.first, rows.count).copy_(features.narrow(0, 0, rows.count));
          },
          Progress(log_, what, world_.size()));
    });
    world_.sum(numbers_of(all));  // each row is one rank's, and zero on the others
    return all;
  }

  /// Collective. Those that were computed before, or computed now and kept.
  at::Tensor reference_features() {
    const Protocol& protocol = result_.protocol;
    const FeatureCache cache(
        protocol.data,
        fmt::format("{} {} {} {} {} {} {} {}", protocol.data_digest, protocol.split,
                    reference_count_, network_ ? network_->identity() : "", protocol.range[0],
                    protocol.range[1], TORCH_VERSION, common_instruction_set(false, world_)));
    const bool kept = network_ && !protocol.data_digest.empty();
    std::optional<at::Tensor> known;
    if (kept && world_.rank() == 0) known = cache.read(reference_count_, protocol.dimension);
    if (world_.max(known ? 1 : 0) > 0) {
      at::Tensor features =
          known.value_or(at::empty({reference_count_, protocol.dimension}, at::kDouble));
      world_.broadcast(std::as_writable_bytes(numbers_of(features)), 0);
      return features;
    }
    at::Tensor features =
        features_of("features of the reference", reference_count_,
                    [&](std::int64_t first, std::int64_t count, float* out) {
                      for (std::int64_t i = 0; i < count; ++i) {
                        dataset_.copy_sample(first + i, out + i * dataset_.dimension());
                      }
                    });
    if (kept && world_.rank() == 0) keep(cache, features);
    return features;
  }

  /// A folder of data may be another's: then they are computed each time.
  void keep(const FeatureCache& cache, const at::Tensor& features) {
    try {
      cache.write(features);
      log_.info(fmt::format("features of the reference kept in {}", cache.path()));
    } catch (const Error& error) {
      log_.warn(fmt::format("features of the reference are not kept: {}", error.what()));
    }
  }

  static std::span<double> numbers_of(const at::Tensor& tensor) {
    return {tensor.mutable_data_ptr<double>(), static_cast<std::size_t>(tensor.numel())};
  }

  void compare(const at::Tensor& draws, const at::Tensor& images) {
    reference_ = make_reference(images, world_);
    const PairTable table = compare_pairs(draws, sorted_.sorting, reference_, world_,
                                          Progress(log_, "comparing", world_.size()));
    on_first_rank(world_, [&] { result_.classes = judge(draws, sorted_, reference_, table); });
  }

  /// What is asked for of chains of the trained energy; each part is recorded as it is done.
  void run_chains(TrainedParts& trained) {
    const StatesToFeatures features = [&](const at::Tensor& states) {
      return features_of("features of chains", states.size(0),
                         [&](std::int64_t first, std::int64_t count, float* out) {
                           const at::Tensor part = states.narrow(0, first, count);
                           std::copy_n(part.const_data_ptr<float>(), part.numel(), out);
                         });
    };
    for (const std::int64_t steps : request_.fresh) {
      result_.fresh.push_back(trained.run_fresh(steps, reference_, features));
      record_part();
    }
    if (!request_.long_run) return;
    result_.long_run = trained.run_long(*request_.long_run, reference_, features);
    record_part();
  }

  void record_part() {
    result_.seconds += watch_.lap();
    on_first_rank(world_, [&] { record(result_, output_); });
  }

  const EvaluationRequest& request_;
  Session& session_;
  Communicator& world_;
  Log& log_;
  Subject subject_;
  Dataset dataset_;
  std::optional<FeatureNetwork> network_;
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
