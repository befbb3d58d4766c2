#include "evaluation/trained_parts.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>

#include "chains/start_states.hpp"
#include "config/error.hpp"
#include "evaluation/distances.hpp"
#include "evaluation/judge.hpp"
#include "parallel/agree.hpp"
#include "run/stopwatch.hpp"
#include "run/version.hpp"
#include "sampler/device_update.hpp"
#include "sampling/denoiser.hpp"
#include "storage/data_file.hpp"
#include "storage/digest.hpp"
#include "storage/json_values.hpp"

namespace stanley {
namespace {

constexpr std::int64_t default_fresh_chains = 1024, default_long_chains = 256;
constexpr std::array starts{"bank", "data", "noise"};

/// So many chains as states of one class, as the distances want them.
SortedStates sorted_chains(std::int64_t count, std::int64_t age) {
  SortedStates sorted{.count = count, .chains = count};
  sorted.ages.assign(static_cast<std::size_t>(count), age);
  Sorting& sorting = sorted.sorting;
  sorting.groups = std::min(most_groups, count);
  for (std::int64_t i = 0; i < count; ++i) {
    sorting.chain_of.push_back(i);
    sorting.class_of.push_back(0);
    sorting.group_of.push_back(i % sorting.groups);
  }
  return sorted;
}

bool all_finite(const std::vector<double>& numbers) {
  return std::ranges::all_of(numbers, [](double number) { return std::isfinite(number); });
}

/// From where chains came that have no finite energy; without any it is states that aren't finite,
/// and only a bank holds such.
std::vector<std::string> not_finite(const std::vector<LongRunPoint>& points) {
  std::vector<std::string> found;
  for (const LongRunPoint& point : points) {
    if (!std::isfinite(point.energy.value)) found.push_back(point.start);
  }
  return found.empty() ? std::vector<std::string>{"bank"} : found;
}

/// The chains are kept each so many steps: after whole visits, about a hundred times.
std::int64_t steps_to_keep(std::int64_t steps, std::int64_t of_a_visit) {
  constexpr std::int64_t times = 100;
  const std::int64_t visits = (steps + of_a_visit - 1) / of_a_visit;
  return (visits + times - 1) / times * of_a_visit;
}

/// Collective. Moves the chains to this step, and keeps them on the way and there.
void move_to(std::int64_t step, std::int64_t at_once, ChainRun& run,
             const std::function<void(std::int64_t)>& moved, const std::function<void()>& keep) {
  while (run.done() < step) {
    run.advance(std::min(at_once, step - run.done()), moved);
    keep();
  }
}

/// Says every few seconds how far chains have come, and how long the rest will take.
class ChainProgress {
 public:
  /// The chains have made `first` steps, and are looked at so many times on the rest of the way.
  ChainProgress(Log& log, std::string what, std::int64_t first, std::int64_t steps,
                std::int64_t chains, double looks)
      : log_(log),
        what_(std::move(what)),
        first_(first),
        steps_(steps),
        chains_(chains),
        looks_(looks) {}

  void moved(std::int64_t done) {
    moving_ += watch_.lap();
    if (moving_ < due_) return;
    due_ = moving_ + 5;
    const double rate = static_cast<double>(done - first_) / moving_;
    log_.info(
        fmt::format("{}: step {}/{} | {:.0f} chain steps/s | {} left", what_, done, steps_,
                    rate * static_cast<double>(chains_),
                    duration_text(static_cast<double>(steps_ - done) / rate + look_ * looks_)));
  }
  void looked() {
    look_ = watch_.lap();
    --looks_;
  }

 private:
  Log& log_;
  std::string what_;
  std::int64_t first_, steps_, chains_;
  double looks_;  // that are to come
  Stopwatch watch_;
  double moving_ = 0, look_ = 0, due_ = 5;  // seconds
};

/// One rank. The split of a file: the one that is asked for, else its only one.
std::string split_of(const std::string& path, const std::string& asked) {
  const DataFile file = DataFile::open_checked(path);
  const std::vector<std::string>& splits = file.splits();
  if (std::ranges::find(splits, asked) != splits.end()) return asked;
  if (splits.size() == 1) return splits.front();
  throw Error(ExitCode::configuration,
              fmt::format("{} has no split '{}': name one of its own with --split ({})", path,
                          asked, fmt::join(splits, ", ")));
}

}  // namespace

TrainedParts::TrainedParts(const EvaluationRequest& request, Opened& opened,
                           const Dataset& reference, const Protocol& protocol,
                           const std::string& output, Session& session, Log& log)
    : request_(request),
      subject_(opened.subject),
      reference_(reference),
      protocol_(protocol),
      output_(output),
      world_(session.world()),
      log_(log),
      energy_(std::move(opened.energy)) {
  if (!energy_) {
    remarks_.push_back("none: " + opened.without_energy);
    return;
  }
  for (const std::string& path : request.further) load_further(path);
  load_training();
  prepare_denoiser();
  if (request.long_run || (starts_from_data() && !request.fresh.empty())) training_or_throw();
}

bool TrainedParts::starts_from_data() const { return energy_->config.chains.start.from_data(); }

void TrainedParts::load_training() {
  const DataConfig& data = energy_->config.data;
  const bool from_file = data.type == DataType::file;
  try {
    training_ = Data{"training", from_file ? data.path : to_string(data.type),
                     from_file ? data.split : "train",
                     Dataset::load(data, energy_->config.run.seed, world_)};
  } catch (const Error& error) {
    if (error.code != ExitCode::input_output) throw;
    remarks_.push_back(fmt::format("none of training data: {}", error.what()));
    return;
  }
  if (from_file && training_->samples.digest() == protocol_.data_digest) {
    remarks_.emplace_back("the test set is the training data: a gap says nothing");
  }
}

void TrainedParts::load_further(const std::string& path) {
  DataConfig data = energy_->config.data;
  data.type = DataType::file;
  data.path = path;
  std::string split;
  on_first_rank(world_, [&] { split = split_of(path, request_.split.value_or("test")); });
  data.split = world_.broadcast(split, 0);
  further_.push_back(
      {path, path, data.split, Dataset::load(data, energy_->config.run.seed, world_)});
  if (further_.back().samples.shape() == subject_.states->shape()) return;
  throw Error(ExitCode::configuration,
              fmt::format("the states of {} have shape {}, those of {} {}: energies are told of "
                          "states of one shape",
                          subject_.path, shape_text(subject_.states->shape()), path,
                          shape_text(further_.back().samples.shape())));
}

TrainedParts::States TrainedParts::states_of(const std::string& name, const std::string& path,
                                             const std::string& split,
                                             const Dataset& samples) const {
  const std::int64_t size = samples.size(), count = std::min(size, request_.draws);
  return {{name, path, split, size, {}},
          count,
          [&samples, size, count](std::int64_t first, std::int64_t part, float* out) {
            for (std::int64_t i = 0; i < part; ++i) {  // evenly spaced: files may be sorted
              samples.copy_sample((first + i) * size / count, out + i * samples.dimension());
            }
          }};
}

/// The probes of the training's own record of noise, and more of them.
TrainedParts::States TrainedParts::noise(std::int64_t count) const {
  const Config& config = energy_->config;
  const auto [low, high] = config.sampler.box.value_or(config.data.range);
  const random::Key key{config.run.seed, random::Stream::noise_probe, 0};
  const auto step = static_cast<std::uint64_t>(energy_->used.iteration);
  const std::string law = fmt::format("uniform in [{:g}, {:g}]", low, high);
  return {{"noise", law, "", count, {}},
          count,
          [=, &shape = energy_->energy.network->state_shape(), low = static_cast<float>(low),
           high = static_cast<float>(high)](std::int64_t first, std::int64_t part, float* out) {
            const ChainBatch probes = zero_chains(first, part, shape, at::kCPU);
            fill_uniform(key, step, low, high, probes);
            std::copy_n(probes.state.const_data_ptr<float>(), probes.state.numel(), out);
          }};
}

std::vector<TrainedParts::States> TrainedParts::all_states(const Evaluation& result,
                                                           const ReadStates& read) const {
  std::vector<States> all;
  if (training_) {
    all.push_back(states_of("training", training_->path, training_->split, training_->samples));
  }
  all.push_back(states_of("test", protocol_.data, protocol_.split, reference_));
  const std::int64_t tested = all.back().count;
  all.push_back({{"chains", subject_.path, "", result.available, {}}, result.states, read});
  all.push_back(noise(tested));
  for (const Data& one : further_) {
    all.push_back(states_of(one.name, one.path, one.split, one.samples));
  }
  return all;
}

void TrainedParts::add_energies(Evaluation& result, const ReadStates& read,
                                const ProgressOf& progress) {
  std::vector<EnergySet> sets;
  std::vector<std::string> remarks = remarks_;
  if (energy_) {
    const std::vector<States> all = all_states(result, read);
    std::int64_t total = 0, before = 0;
    for (const States& one : all) total += one.count;
    const RowsDone told = progress("energies");
    for (const States& one : all) {
      EnergySet set = one.set;
      set.energies = energies_of_states(
          *energy_, one.count, one.read,
          [&](std::int64_t done, std::int64_t) { told(before + done, total); }, world_);
      before += one.count;
      if (all_finite(set.energies)) {
        sets.push_back(std::move(set));
      } else {
        remarks.push_back(fmt::format("none of {}: not all are finite numbers", set.name));
      }
    }
    if (subject_.states->draws() > 1) {
      remarks.emplace_back(
          "draws of one chain resemble each other: the intervals of chains are "
          "too narrow");
    }
  }
  on_first_rank(world_, [&] {
    result.energies = report_energies(sets);
    result.energies->remarks = remarks;
  });
}

const Dataset& TrainedParts::training_or_throw() const {
  if (training_) return training_->samples;
  throw FileError(fmt::format("chains of {} can't start from its training data: {}", subject_.path,
                              remarks_.front()));
}

/// Collective. Where these chains, which have their starts and have not moved, are kept on their
/// way.
KeptChains TrainedParts::kept_chains(const std::string& part, std::int64_t steps, ChainRun& run) {
  const std::vector<std::uint8_t> starts = run.snapshot();
  Config config = energy_->config;
  config.chains.shards = 1;  // of this session
  const nlohmann::json depends_on{
      part,
      steps,
      digest_text({reinterpret_cast<const char*>(starts.data()), starts.size()}),
      to_yaml(config),
      as_json(energy_->used),
      as_json(protocol_),
      build_version,
      build_commit};
  KeptChains kept(output_, to_bytes(depends_on));
  kept_.push_back(kept.path());
  return kept;
}

/// Collective. What was noted with the chains that an evaluation which was cut off has kept; null
/// where there are none.
nlohmann::json TrainedParts::take_up(const std::string& part, const KeptChains& kept,
                                     ChainRun& run) {
  nlohmann::json noted = kept.take_up(run, world_);
  if (!noted.is_null()) {
    log_.info(fmt::format("{}: goes on at step {}, of {}", part, run.done(), kept.path()));
  }
  return noted;
}

void TrainedParts::forget_chains() {
  on_first_rank(world_, [&] {
    std::error_code ignored;
    for (const std::string& path : kept_) std::filesystem::remove(path, ignored);
  });
}

/// Where it can't be fitted, a warning says why.
void TrainedParts::prepare_denoiser() {
  if (!energy_) return;
  Config config = energy_->config;
  if (request_.denoise) config.samples.denoise = {};
  if (request_.denoise.value_or(0) > 0) config.samples.denoise.steps = request_.denoise;
  if (!config.samples.denoise.asked()) return;
  denoiser_.emplace(config);
  if (!denoiser_->fitted()) return;
  const auto refused =
      training_ ? denoiser_->fit(*energy_->energy.engine, training_->samples,
                                 energy_->energy.most_states, energy_->setup.torch_device)
                : "samples.denoise is not fitted: " + remarks_.front();
  if (!refused) return;
  log_.warn(*refused);
  denoiser_.reset();
}

std::optional<Denoised> TrainedParts::denoise(const SortedStates& states, const ReadStates& read,
                                              const Reference& reference,
                                              const StatesToFeatures& features) {
  if (!denoiser_) return std::nullopt;
  Denoised result{.how = denoiser_->text()};
  Stopwatch watch;
  ChainRun run(*energy_, states.count, world_);
  run.start(0, states.count, read);
  run.denoise(*denoiser_);
  result.classes = judge(features(run.states()), states, reference, world_);
  result.seconds = watch.lap();
  return result;
}

FreshChains TrainedParts::run_fresh(std::int64_t steps, const Reference& reference,
                                    const StatesToFeatures& features) {
  const Config& config = energy_->config;
  FreshChains fresh{steps, request_.chains.value_or(default_fresh_chains),
                    to_string(config.chains.start)};
  const Dataset none;
  Stopwatch watch;
  ChainRun run(*energy_, fresh.chains, world_);
  run.start(0, fresh.chains,
            make_start_state(config, starts_from_data() ? training_or_throw() : none, 0));
  const KeptChains kept = kept_chains("fresh chains", steps, run);
  const nlohmann::json noted = take_up("fresh chains", kept, run);
  if (!noted.is_null()) fresh.seconds = noted["seconds"];
  ChainProgress progress(log_, "fresh chains", run.done(), steps, fresh.chains, 0);
  move_to(
      steps, steps_to_keep(steps, config.sampler.steps), run,
      [&](std::int64_t done) { progress.moved(done); },
      [&] {
        fresh.seconds += watch.lap();
        kept.keep(run, {{"seconds", fresh.seconds}}, world_);
      });
  const std::vector<double> energies = run.energies();
  fresh.energy = mean_of(energies);
  fresh.result.name = fmt::format("fresh, {} steps", steps);
  fresh.result.states = fresh.chains;
  const at::Tensor states = run.states();
  if (!all_finite(energies) || !states.isfinite().all().item<bool>()) {
    fresh.result.remarks.emplace_back("no number: the chains left for infinity");
  } else {
    const SortedStates sorted = sorted_chains(fresh.chains, steps);
    const auto judged = [&](const at::Tensor& of) {
      std::vector<ClassResult> results = judge(features(of), sorted, reference, world_);
      return results.empty() ? ClassResult{} : results.front();
    };
    const std::string name = fresh.result.name;
    fresh.result = judged(states);
    fresh.result.name = name;
    if (denoiser_) {
      run.denoise(*denoiser_);
      fresh.denoised = judged(run.states());
      fresh.denoised->name = "denoised, " + name;
    }
  }
  fresh.seconds += watch.lap();
  return fresh;
}

void TrainedParts::start_long_run(ChainRun& run, std::int64_t each) {
  run.start(0, each, [&](std::int64_t first, std::int64_t count, float* out) {
    energy_->bank->read(first, count, out);
  });
  Config config = energy_->config;
  config.chains.start = StartType::data;
  run.start(each, each, make_start_state(config, training_or_throw(), 0));
  config.chains.start = StartType::uniform;
  run.start(2 * each, each, make_start_state(config, training_or_throw(), 0));
}

/// What is seen of the chains now; false where they left for infinity.
bool TrainedParts::add_points(LongRun& result, ChainRun& run, const Reference& reference,
                              const StatesToFeatures& features) const {
  const std::vector<double> energies = run.energies();
  const at::Tensor states = run.states();
  SortedStates sorted = sorted_chains(3 * result.chains, run.done());
  for (std::size_t i = 0; i < energies.size(); ++i) {
    sorted.sorting.class_of[i] = static_cast<std::int64_t>(i) / result.chains;
  }
  sorted.sorting.classes = 3;
  const bool finite = all_finite(energies) && states.isfinite().all().item<bool>();
  std::optional<PairTable> table;
  if (finite) table = compare_pairs(features(states), sorted.sorting, reference, world_);
  std::string told;
  for (std::int64_t s = 0; s < 3; ++s) {
    LongRunPoint point{run.done(), starts.at(static_cast<std::size_t>(s))};
    const auto first = energies.begin() + s * result.chains;
    point.energy = mean_of({first, first + result.chains});
    if (table) {
      const Estimate kid = kernel_distance(*table, sorted.sorting, reference, {s});
      point.kid = kid.value;
      point.kid_low = kid.low;
      point.kid_high = kid.high;
    }
    told += fmt::format(" | {}: E {:.4g}, KID·1000 {:.1f}", point.start, point.energy.value,
                        point.kid.value_or(std::nan("")) * 1000);
    result.points.push_back(std::move(point));
  }
  log_.info(fmt::format("long run: step {}{}", run.done(), told));
  return finite;
}

LongRun TrainedParts::run_long(std::int64_t steps, const Reference& reference,
                               const StatesToFeatures& features) {
  LongRun result{steps,
                 std::min(request_.chains.value_or(default_long_chains), energy_->bank->count())};
  Stopwatch watch;
  ChainRun run(*energy_, 3 * result.chains, world_);
  agree(world_, [&] { start_long_run(run, result.chains); });
  const KeptChains kept = kept_chains("long run", steps, run);
  if (const nlohmann::json noted = take_up("long run", kept, run); !noted.is_null()) {
    result.seconds = noted["seconds"];
    for (const nlohmann::json& point : noted["points"]) result.points.push_back(point_of(point));
  }
  const auto keep = [&] {
    result.seconds += watch.lap();
    nlohmann::json points = nlohmann::json::array();
    for (const LongRunPoint& point : result.points) points.emplace_back(as_json(point));
    kept.keep(run, {{"seconds", result.seconds}, {"points", points}}, world_);
  };
  // Where th is held for the steps of a visit, chains are looked at between visits.
  const SamplerConfig& sampler = energy_->config.sampler;
  const std::int64_t unit = sampler.refresh == Refresh::iteration ? sampler.steps : 1;
  const std::vector<std::int64_t> told = steps_to_tell(steps, unit);
  std::size_t looks = result.points.size() / starts.size();
  ChainProgress progress(log_, "long run", run.done(), steps, 3 * result.chains,
                         static_cast<double>(told.size() - looks));
  bool finite = true;
  for (; finite && looks < told.size(); ++looks) {
    move_to(
        told[looks], steps_to_keep(steps, sampler.steps), run,
        [&](std::int64_t done) { progress.moved(done); }, keep);
    finite = add_points(result, run, reference, features);
    progress.looked();
    if (finite) keep();
  }
  if (finite) {
    judge(result);
  } else if (run.done() == 0) {
    result.verdict = "none";
    result.reasons = {fmt::format(
        "no verdict: before the first step chains from {} are no finite numbers, or have no finite "
        "energy, with the weights of {}",
        fmt::join(not_finite(result.points), " and "), energy_->used.checkpoint)};
  } else {
    result.verdict = "short-run generator";
    result.reasons = {fmt::format("chains left for infinity before step {}", run.done())};
  }
  result.seconds += watch.lap();
  return result;
}

}  // namespace stanley
