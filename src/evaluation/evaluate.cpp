#include "evaluation/evaluate.hpp"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <mutex>
#include <numeric>
#include <optional>

#include "config/printable.hpp"
#include "data/dataset.hpp"
#include "evaluation/distances.hpp"
#include "evaluation/feature_network.hpp"
#include "evaluation/row_blocks.hpp"
#include "kernels/loop_threads.hpp"
#include "parallel/agree.hpp"
#include "parallel/threads.hpp"
#include "run/stopwatch.hpp"
#include "sampling/setup.hpp"
#include "sampling/stored_config.hpp"
#include "storage/checkpoint.hpp"
#include "storage/data_file.hpp"
#include "storage/inspection.hpp"
#include "storage/stored_states.hpp"

namespace stanley {
namespace {

namespace fs = std::filesystem;

constexpr const char* default_features = ".data/features/efficientnet-lite0.pt";
constexpr std::int64_t states_at_once = 32;  // that go through the feature network
constexpr std::int64_t most_groups = 20;     // of the jackknife
constexpr std::int64_t age_classes = 4;

/// The states to judge, and what is known of them.
struct Subject {
  std::string path;
  std::unique_ptr<StoredStates> states;
  Config config;
  std::string kind;
  std::optional<std::int64_t> iteration;
};

/// Collective. The file that a run directory stands for: its newest checkpoint that verifies.
std::string file_of(const std::string& path, Communicator& communicator) {
  double is_run = 0;
  on_first_rank(communicator, [&] {
    std::error_code ignored;
    if (!fs::exists(path, ignored)) {
      throw FileError(path + " isn't there: expected a run directory, a checkpoint or a draw file");
    }
    is_run = fs::is_directory(path, ignored) ? 1 : 0;
  });
  if (communicator.max(is_run) == 0) return path;
  const std::string checkpoints = path + "/checkpoints";
  const FoundCheckpoint found = find_checkpoint(communicator, checkpoints, {});
  if (found.header) return found.header->path;
  throw FileError(path + " holds no checkpoint: expected a run directory with checkpoints/");
}

/// Collective. Reads the whole file once, to see that it is to be trusted.
Subject open_subject(const std::string& path, Communicator& communicator) {
  Subject subject{.path = file_of(path, communicator)};
  const FileReport report = inspect_file(communicator, subject.path);
  std::string text, kind, iteration;
  on_first_rank(communicator, [&] {
    if (!report.verified()) {
      throw FileError(subject.path +
                      " is not to be trusted: " + printable(report.problems.front()));
    }
    if (report.kind != FileKind::checkpoint && report.kind != FileKind::draws) {
      throw FileError(subject.path +
                      " is a data file: expected a run directory, a checkpoint or a "
                      "draw file");
    }
    const auto found = report.texts.find("config");
    if (found != report.texts.end()) text = found->second;
    kind = to_string(report.kind);
    if (report.iteration) iteration = std::to_string(*report.iteration);
  });
  CheckpointHeader header{.path = subject.path};
  header.texts["config"] = communicator.broadcast(text, 0);
  subject.kind = communicator.broadcast(kind, 0);
  iteration = communicator.broadcast(iteration, 0);
  if (!iteration.empty()) subject.iteration = std::stoll(iteration);
  agree(communicator, [&] {
    if (header.texts["config"].empty()) {
      throw FileError(subject.path + " holds no configuration; it was not written by this program");
    }
    subject.config = stored_config(header, {});
    subject.states = std::make_unique<StoredStates>(subject.path);
  });
  return subject;
}

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

/// Ages cut at their quartiles, so that equal ages are of one class.
std::vector<std::int64_t> classes_of(const std::vector<std::int64_t>& ages) {
  std::vector<std::int64_t> sorted = ages, limits;
  std::ranges::sort(sorted);
  for (std::int64_t i = 1; i < age_classes; ++i) {
    const std::int64_t limit = sorted[sorted.size() * static_cast<std::size_t>(i) / age_classes];
    if (limit > sorted.front() && (limits.empty() || limit > limits.back())) {
      limits.push_back(limit);
    }
  }
  std::vector<std::int64_t> classes;
  for (const std::int64_t age : ages) {
    classes.push_back(std::ranges::upper_bound(limits, age) - limits.begin());
  }
  return classes;
}

/// One evaluation, from the file to its result.
class Evaluating {
 public:
  Evaluating(const EvaluationRequest& request, Session& session, Log& log)
      : request_(request), world_(session.world()), log_(log) {
    use_threads(threads_per_rank(session), /*reproducible=*/true);
  }

  Evaluation run() {
    Stopwatch watch;
    subject_ = open_subject(request_.path, world_);
    load_reference();
    choose_features();
    sort_states();
    const at::Tensor images = features_of(
        "reference", reference_count_, [&](std::int64_t first, std::int64_t count, float* out) {
          for (std::int64_t i = 0; i < count; ++i) {
            dataset_.copy_sample(first + i, out + i * dataset_.dimension());
          }
        });
    const at::Tensor draws =
        features_of("states", count_, [&](std::int64_t first, std::int64_t count, float* out) {
          const std::lock_guard lock(file_mutex_);
          subject_.states->read(first, count, out);
        });
    compare(draws, images);
    result_.seconds = watch.lap();
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
  }

  void sort_states() {
    const StoredStates& states = *subject_.states;
    count_ = std::min(request_.draws, states.count());
    std::vector<std::int64_t> ages = states.ages();
    if (ages.empty()) ages.assign(static_cast<std::size_t>(states.count()), 0);
    ages.resize(static_cast<std::size_t>(count_));
    sorting_.class_of = classes_of(ages);
    sorting_.classes = *std::ranges::max_element(sorting_.class_of) + 1;
    const std::int64_t chains = (count_ + states.draws() - 1) / states.draws();
    sorting_.groups = std::min(most_groups, chains);
    for (std::int64_t i = 0; i < count_; ++i) {
      sorting_.group_of.push_back(i / states.draws() % sorting_.groups);
    }
    ages_ = std::move(ages);
    result_.path = subject_.path;
    result_.kind = subject_.kind;
    result_.iteration = subject_.iteration;
    result_.states = count_;
    result_.available = states.count();
    result_.chains = chains;
    result_.shape = states.shape();
    result_.protocol.groups = sorting_.groups;
  }

  /// Collective. Features [count, dimension] float64 of the states that `read` gives.
  at::Tensor features_of(
      const char* what, std::int64_t count,
      const std::function<void(std::int64_t first, std::int64_t count, float* out)>& read) {
    const at::Tensor all = at::zeros({count, result_.protocol.dimension}, at::kDouble);
    std::vector<std::int64_t> shape = dataset_.shape();
    shape.insert(shape.begin(), 0);
    Progress progress(*this, what);
    agree(world_, [&] {
      for_each_row_block(
          count, states_at_once, world_,
          [&](const RowBlock& rows) {
            // Always as many: what a network makes of a state may depend on the size of its batch.
            std::vector<std::int64_t> batch = shape;
            batch[0] = network_ ? states_at_once : rows.count;
            const at::Tensor states = at::zeros(batch, at::kFloat);
            read(rows.first, rows.count, states.mutable_data_ptr<float>());
            const at::Tensor features = network_
                                            ? network_->features(states, result_.protocol.range)
                                            : states.reshape({rows.count, -1});
            all.narrow(0, rows.first, rows.count).copy_(features.narrow(0, 0, rows.count));
          },
          [&](std::int64_t done, std::int64_t mine) { progress.tell(done, mine); });
    });
    world_.sum(
        std::span<double>(all.mutable_data_ptr<double>(), static_cast<std::size_t>(all.numel())));
    return all;
  }

  void compare(const at::Tensor& draws, const at::Tensor& images) {
    const Reference reference = make_reference(images, world_);
    Progress progress(*this, "pairs");
    const PairTable table =
        compare_pairs(draws, sorting_, reference, world_,
                      [&](std::int64_t done, std::int64_t mine) { progress.tell(done, mine); });
    on_first_rank(world_, [&] {
      at::set_num_threads(loop_threads());
      judge(draws, images, reference, table);
    });
  }

  void judge(const at::Tensor& draws, const at::Tensor& images, const Reference& reference,
             const PairTable& table) {
    std::optional<FrechetDistance> frechet;
    if (images.size(0) > images.size(1)) frechet.emplace(images);
    std::vector<std::int64_t> everything(static_cast<std::size_t>(sorting_.classes));
    std::iota(everything.begin(), everything.end(), 0);
    result_.classes.push_back(judge_class("all", everything, draws, frechet, reference, table));
    if (sorting_.classes == 1) return;
    for (const std::int64_t c : everything) {
      result_.classes.push_back(judge_class("", {c}, draws, frechet, reference, table));
    }
  }

  ClassResult judge_class(const std::string& name, const std::vector<std::int64_t>& classes,
                          const at::Tensor& draws, const std::optional<FrechetDistance>& frechet,
                          const Reference& reference, const PairTable& table) {
    std::vector<std::int64_t> members;
    for (std::size_t i = 0; i < sorting_.class_of.size(); ++i) {
      if (std::ranges::find(classes, sorting_.class_of[i]) != classes.end()) {
        members.push_back(static_cast<std::int64_t>(i));
      }
    }
    ClassResult result{.name = name, .states = static_cast<std::int64_t>(members.size())};
    const auto [youngest, oldest] = std::ranges::minmax(
        members, {}, [&](std::int64_t i) { return ages_[static_cast<std::size_t>(i)]; });
    result.ages = {ages_[static_cast<std::size_t>(youngest)],
                   ages_[static_cast<std::size_t>(oldest)]};
    if (name.empty())
      result.name = fmt::format("ages {} to {}", (*result.ages)[0], (*result.ages)[1]);
    judge_pairs(result, classes, reference, table);
    judge_frechet(result, draws.index_select(0, at::tensor(members, at::kLong)), frechet,
                  classes.size() == static_cast<std::size_t>(sorting_.classes));
    return result;
  }

  void judge_pairs(ClassResult& result, const std::vector<std::int64_t>& classes,
                   const Reference& reference, const PairTable& table) const {
    if (result.states < 2) {
      result.remarks.emplace_back("no KID: one state has no pair");
      return;
    }
    const Estimate kid = kernel_distance(table, sorting_, reference, classes);
    result.kid = kid.value;
    result.kid_low = kid.low;
    result.kid_high = kid.high;
    if (!kid.low) result.remarks.emplace_back("no interval: too few chains to leave some out");
    if (result.states <= neighbours_of_a_ball) {
      result.remarks.push_back(
          fmt::format("no precision, recall, density and coverage: {} states "
                      "have no {} others",
                      result.states, neighbours_of_a_ball));
      return;
    }
    const bool whole = classes.size() == static_cast<std::size_t>(sorting_.classes);
    const Manifold found = manifold(
        table, sorting_, whole ? std::nullopt : std::optional<std::int64_t>(classes.front()));
    result.precision = found.precision;
    result.recall = found.recall;
    result.density = found.density;
    result.coverage = found.coverage;
  }

  static void judge_frechet(ClassResult& result, const at::Tensor& draws,
                            const std::optional<FrechetDistance>& frechet, bool whole) {
    const std::int64_t features = draws.size(1);
    if (!frechet) {
      result.remarks.push_back(fmt::format(
          "no FID: the reference has fewer images than there are features ({})", features));
      return;
    }
    if (draws.size(0) <= features) {
      result.remarks.push_back(
          fmt::format("no FID: fewer states ({}) than features ({})", draws.size(0), features));
      return;
    }
    result.fid = frechet->to(draws);
    if (whole) result.fid_extrapolated = frechet->extrapolated(draws);
  }

  /// Says every few seconds how far this rank has come.
  class Progress {
   public:
    Progress(const Evaluating& all, const char* what) : all_(all), what_(what) {}
    void tell(std::int64_t done, std::int64_t mine) {
      since_said_ += watch_.lap();
      passed_ += since_said_ - last_;
      last_ = since_said_;
      if (since_said_ < 5) return;
      since_said_ = last_ = 0;
      const double rate = static_cast<double>(done) / passed_;
      all_.log_.info(fmt::format("{} {}/{} of this rank | {:.0f}/s | {} left", what_, done, mine,
                                 rate, duration_text(static_cast<double>(mine - done) / rate)));
    }

   private:
    const Evaluating& all_;
    const char* what_;
    Stopwatch watch_;
    double passed_ = 0, since_said_ = 0, last_ = 0;
  };

  const EvaluationRequest& request_;
  Communicator& world_;
  Log& log_;
  Subject subject_;
  Dataset dataset_;
  std::optional<FeatureNetwork> network_;
  std::int64_t reference_count_ = 0, count_ = 0;
  std::vector<std::int64_t> ages_;
  Sorting sorting_;
  std::mutex file_mutex_;  // HDF5 knows no threads
  Evaluation result_;
};

/// The run's own list for a file of a run, else one beside the file.
std::string output_of(const std::string& file) {
  std::error_code ignored;
  const fs::path folder = fs::weakly_canonical(fs::path(file), ignored).parent_path();
  const fs::path run = folder.parent_path();
  const bool in_run = folder.filename() == "checkpoints" || folder.filename() == "samples";
  if (in_run && fs::exists(run / "run.json", ignored)) return (run / "evaluation.json").string();
  return file + ".evaluation.json";
}

}  // namespace

Evaluation run_evaluation(const EvaluationRequest& request, Session& session, Log& log) {
  Evaluation evaluation = Evaluating(request, session, log).run();
  on_first_rank(session.world(), [&] {
    record(evaluation, request.output.empty() ? output_of(evaluation.path) : request.output);
  });
  return evaluation;
}

}  // namespace stanley
