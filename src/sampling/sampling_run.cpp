#include "sampling/sampling_run.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/version.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>
#include <optional>
#include <tuple>
#include <utility>

#include "config/error.hpp"
#include "parallel/agree.hpp"
#include "parallel/device.hpp"
#include "run/deadlines.hpp"
#include "run/living_run.hpp"
#include "run/start_checkpoint.hpp"
#include "run/stop.hpp"
#include "run/stopwatch.hpp"
#include "run/version.hpp"
#include "sampling/denoiser.hpp"
#include "sampling/draw_block.hpp"
#include "sampling/kept_scalars.hpp"
#include "sampling/sampled_chains.hpp"
#include "sampling/sampling_files.hpp"
#include "sampling/source.hpp"
#include "sampling/starts.hpp"
#include "sampling/stored_config.hpp"
#include "sampling/summary.hpp"

namespace stanley {
namespace {

using SystemClock = std::chrono::system_clock;

/// The text of a checkpoint that says what its chains sample.
constexpr const char* source_digest = "source_digest";
constexpr std::int64_t block_bytes = std::int64_t{256} << 20;  // of all ranks' states in one file
constexpr double progress_seconds = 5;  // from one word in run.json to the next

/// Draws in a file: what does not depend on the ranks.
std::int64_t draws_in_file(const Config& config, const StateShape& shape) {
  std::int64_t bytes = config.chains.total * static_cast<std::int64_t>(sizeof(float));
  for (const std::int64_t extent : shape) bytes *= extent;
  const std::int64_t fit = std::max<std::int64_t>(block_bytes / bytes, 1);
  return config.sampling.draws_per_file.value_or(fit);
}

/// Throws where a run that goes on would be another one.
void check_same_run(const CheckpointHeader& header, const Config& config) {
  const auto found = differences(stored_config(header).config, config, false);
  if (found.empty()) return;
  throw Error(ExitCode::configuration,
              fmt::format("{} is of another run: {}; give the old values, or another directory "
                          "(--run-directory)",
                          header.path, fmt::join(found, ", ")));
}

/// One start of a run of chains, from the files to the verdict. Rank 0 keeps the run's own files.
class SamplingRun {
 public:
  SamplingRun(const SamplingRunRequest& request, SamplingSource source, Session& session, Log& log)
      : request_(request),
        source_(std::move(source)),
        config_(source_.config),
        session_(session),
        world_(session.world()),
        log_(log),
        run_(request.directory, config_, session, log) {}

  ExitCode run() {
    check_for_sampling(config_);
    require_shards(config_, session_);
    on_first_rank(world_, [&] { refuse_past_end(config_.run, began_); });
    if (already_finished()) {
      run_.tidy_up(request_.take_over);
      return ExitCode::finished;
    }
    run_.take(request_.take_over);
    try {
      start();
      return draw_until_stopped();
    } catch (const std::exception& exception) {
      throw run_.fail(exception);
    }
  }

 private:
  bool leader() const { return world_.rank() == 0; }
  const SamplingConfig& sampling() const { return config_.sampling; }
  const RunDirectory& directory() const { return run_.directory; }
  std::int64_t steps() const { return chains_->steps(); }
  std::int64_t draws_done() const { return block_->first() + block_->count(); }

  /// Collective. Whether the directory's run has all its draws; says so.
  bool already_finished() {
    std::int64_t newest = -1;
    on_first_rank(world_, [&] {
      if (request_.resume != "auto" || !std::filesystem::exists(directory().done())) return;
      const auto all = list_checkpoints(directory().checkpoints());
      if (all.empty() || all.front() < sampling().steps()) return;
      check_same_run(
          read_checkpoint_header(checkpoint_path(directory().checkpoints(), all.front())), config_);
      newest = all.front();
    });
    newest = static_cast<std::int64_t>(world_.max(static_cast<double>(newest)));
    if (newest < 0) return false;
    log_.info(fmt::format("{} is finished: {} draws of each chain; raise sampling.draws to go on",
                          directory().path(), (newest - sampling().warm_up) / sampling().thin));
    return true;
  }

  // --- start ------------------------------------------------------------------------------------

  void start() {
    run_.activity.enter("set-up");
    log_.info(fmt::format("stanley {} ({}), run directory {}", build_version, build_commit,
                          directory().path()));
    on_first_rank(world_, [&] {
      remove_unfinished(directory().checkpoints());
      remove_unfinished(directory().samples());
    });
    run_.activity.enter("verifying checkpoints");
    const auto header = find_start_checkpoint(world_, request_.resume, directory().checkpoints(),
                                              run_.file_options, log_);
    if (header) adopt(*header);
    run_.activity.enter("set-up");
    setup_.emplace(set_up(config_, session_));
    energy_ = load_energy(source_, *setup_, data_, world_);
    source_digest_ = digest_of(source_, *setup_);
    if (header) check_source(*header);
    make_chains();
    fit_denoiser();
    files_.emplace(config_, directory(), run_.file_options, attributes_of(source_, source_digest_),
                   session_, log_);
    if (header) {
      restore(*header);
    } else {
      run_.activity.enter("starting the chains");
      start_chains(chains_->chains(), source_, data_, world_);
    }
    run_.verdict.reached(steps());
    open_run_files(header ? header->path : "");
    if (leader()) find_deadlines(config_.run, began_, deadlines_, log_);
    if (header) return;
    // A run that can't write its checkpoints should end before it computes.
    write(false);
    files_->wait();
  }

  /// Takes over what the checkpoint says of the run; says what of it changes now.
  void adopt(const CheckpointHeader& header) {
    check_same_run(header, config_);
    for (const auto& change : keep_resolved(header, false, config_)) log_.warn(change);
    log_.info(fmt::format("goes on from {} (chain step {})", header.path, header.iteration));
  }

  void check_source(const CheckpointHeader& header) const {
    const std::string there = header.text(source_digest).value_or("");
    if (there == source_digest_) return;
    throw Error(ExitCode::configuration,
                fmt::format("{} is of a run that samples another energy: the digest (XXH3) of its "
                            "weights is {} there and {} here ({}); give the file of that time, or "
                            "another directory (--run-directory)",
                            header.path, there, source_digest_, source_.name));
  }

  void make_chains() {
    rows_ = {.shards = deal_shards(config_.chains.shards, session_.rank(), session_.size()),
             .per_shard = config_.chains.total / config_.chains.shards};
    pieces_.most = energy_.most_states;
    if (config_.run.reproducible && !energy_.engine->batch_invariant()) {
      pieces_.group = rows_.per_shard;
    }
    chains_.emplace(config_, energy_, pieces_, rows_, setup_->torch_device, world_,
                    [this] { run_.activity.advance(); });
    std::int64_t dimension = 1;
    for (const std::int64_t extent : energy_.network->state_shape()) dimension *= extent;
    kept_.emplace(config_, rows_, dimension);
    begin_block(0);
  }

  void begin_block(std::int64_t first) {
    const StateShape& shape = energy_.network->state_shape();
    const std::int64_t left = std::max<std::int64_t>(sampling().draws - first, 1);
    block_ = std::make_shared<DrawBlock>(first, std::min(draws_in_file(config_, shape), left),
                                         rows_, shape);
  }

  void fit_denoiser() {
    denoiser_.emplace(config_);
    if (!denoiser_->fitted()) return;
    if (data_.size() == 0) data_ = Dataset::load(config_.data, config_.run.seed, world_);
    const auto refused = denoiser_->fit(*energy_.engine, data_, pieces_.most, setup_->torch_device);
    if (refused) throw Error(ExitCode::configuration, *refused);
  }

  /// Collective. Chains, draws that have no file yet and the table's numbers, as they stood.
  void restore(const CheckpointHeader& header) {
    run_.activity.enter("reading a checkpoint");
    const Progress& progress = header.progress;
    begin_block(integer_of(progress, "block_first"));
    const std::int64_t pending = integer_of(progress, "block_draws");
    const std::int64_t kept = integer_of(progress, "kept_draws");
    std::vector<at::Tensor> block;
    std::vector<double> scalars;
    std::vector<ArrayView> arrays = chains_->arrays();
    for (const auto& more : {block_->arrays(pending, block), kept_->arrays(kept, scalars)}) {
      arrays.insert(arrays.end(), more.begin(), more.end());
    }
    Filling filling(std::move(arrays));
    check_arrays(header, filling.arrays(), Sharding::same);
    read_checkpoint(world_, header, filling.arrays(), Sharding::same, run_.file_options);
    filling.finish();
    block_->take(block);
    kept_->take(scalars, kept, integer_of(progress, "kept_every"));
    chains_->restore(progress);
    seconds_drawing_ = real_of(progress, "seconds_drawing");
  }

  void open_run_files(const std::string& resumed_from) {
    const std::string topology = topology_table(session_, setup_->device, setup_->threads);
    std::int64_t parameters = 0;
    for (const NamedTensor& one : energy_.network->parameters()) parameters += one.value.numel();
    on_first_rank(world_, [&] {
      replace_file(directory().config(), to_yaml(config_));
      std::error_code ignored;
      std::filesystem::remove(directory().done(), ignored);
      RunRecord& record = run_.verdict.record();
      record.describe(config_.run.name, sampling().steps(),
                      {.parameters = parameters, .state_shape = energy_.network->state_shape()},
                      "sampling");
      record.start({.iteration = steps(),
                    .ranks = session_.size(),
                    .hosts = session_.hosts(),
                    .devices = {to_string(setup_->device)},
                    .processor = processor_name(),
                    .instruction_set = setup_->instruction_set,
                    .precision = to_string(setup_->precision),
                    .reduction = "none",
                    .engine = energy_.engine->description(),
                    .resumed_from = resumed_from,
                    .libraries = {{"mpi", session_.library_version()},
                                  {"hdf5", hdf5_version()},
                                  {"libtorch", TORCH_VERSION}},
                    .threads = setup_->threads});
    });
    log_.info(topology);
    const std::string from =
        sampling().states.empty() ? to_string(config_.chains.start) : sampling().states;
    log_.info(fmt::format(
        "{} chains from {}, by {}{}, {} steps of warm-up, {} draws each {} steps, T = {:.3g}, "
        "gradient by {}, weights: {}",
        config_.chains.total, from, to_string(config_.sampler.type),
        config_.sampler.metropolis ? " with the correction" : "", sampling().warm_up,
        sampling().draws, sampling().thin, config_.sampler.temperature_value(),
        energy_.engine->description(), weights_of(source_)));
    if (!denoiser_->text().empty()) log_.info("draws are denoised by " + denoiser_->text());
  }

  // --- the loop ---------------------------------------------------------------------------------

  ExitCode draw_until_stopped() {
    const std::int64_t before = steps();
    Stopwatch watch, phase;
    for (std::int64_t rounds = 1; steps() < sampling().steps(); ++rounds) {
      const bool draws = !chains_->warming_up();
      phase.lap();
      run_.activity.enter("chains");
      chains_->move();
      if (draws) take_draw();
      const double seconds = phase.lap();
      if (draws) seconds_drawing_ += seconds;
      run_.verdict.reached(steps());
      seconds_moving_ += watch.lap();
      const bool last = steps() >= sampling().steps();
      if (last || rounds % config_.log.every == 0) tell(before);
      const Votes votes = vote(seconds, rounds);
      const std::string asked_by = last ? "" : asked_to_stop(votes);
      const bool file = block_->full() || last;
      const bool warm = steps() == sampling().warm_up;
      if (file || warm || votes.checkpoint > 0 || !asked_by.empty()) write(file);
      if (!asked_by.empty()) return finish(ExitCode::requeue, asked_by);
    }
    return finish(ExitCode::finished, "");
  }

  void take_draw() {
    Draw draw{.states = {}, .energies = {}, .acceptance = chains_->acceptance(), .age = steps()};
    agree(world_, [&] {
      std::tie(draw.states, draw.energies) =
          denoiser_->draws(*energy_.engine, chains_->chains(), pieces_);
      check_finite(draw.energies);
    });
    kept_->add(draws_done(), draw);
    block_->add(draw);
    energy_sum_ = draw.energies.sum().item<double>();
  }

  void check_finite(const at::Tensor& energies) const {
    const double* const values = energies.const_data_ptr<double>();
    for (std::int64_t i = 0; i < energies.numel(); ++i) {
      if (std::isfinite(values[i])) continue;
      throw Error(ExitCode::diverged,
                  fmt::format("the energy of chain {} is {} after {} steps: lower "
                              "sampler.step_size, set a sampler.box, or sampler.metropolis to true",
                              rows_.first() + i, values[i], steps()));
    }
  }

  /// Collective. A line for the log, and now and then a word for `stanley status`.
  void tell(std::int64_t before) {
    const ChainsTold told = chains_->told_lately();
    const double rate = static_cast<double>(steps() - before) / std::max(seconds_moving_, 1e-9);
    const double left = static_cast<double>(sampling().steps() - steps()) / rate;
    double energy = std::exchange(energy_sum_, 0);
    world_.sum(std::span<double>(&energy, 1));
    std::string line =
        steps() <= sampling().warm_up
            ? fmt::format("warm-up {}/{}", steps(), sampling().warm_up)
            : fmt::format("draw {}/{} | mean E {:.5g}", draws_done(), sampling().draws,
                          energy / static_cast<double>(config_.chains.total));
    line += fmt::format(" | step {} | accepted {:.3f}", steps(), told.acceptance);
    if (std::isfinite(told.temperature.value)) {
      line += fmt::format(" | T {:.3g} ± {:.1g}", told.temperature.value, told.temperature.error);
    }
    const double steps_a_second = rate * static_cast<double>(config_.chains.total);
    log_.info(fmt::format("{} | {:.0f} chain steps/s | {} left", line, steps_a_second,
                          duration_text(left)));
    seconds_untold_ += seconds_moving_ - told_at_;
    told_at_ = seconds_moving_;
    if (seconds_untold_ < progress_seconds) return;
    seconds_untold_ = 0;
    on_first_rank(world_, [&] {
      directory().check_ownership();
      run_.verdict.record().progress(steps(), steps_a_second, left);
    });
  }

  /// Collective. All ranks' votes: any rank's signal counts, rank 0's clock decides.
  Votes vote(double seconds_round, std::int64_t rounds) {
    const StopRequest request = take_request();
    Votes votes{
        .signal = request.stop, .checkpoint = request.checkpoint, .files_failed = files_->failed()};
    if (leader()) {
      deadlines_.checkpoint_seconds = config_.checkpoint.seconds;
      vote_by_clock(SystemClock::now(), stop_margin(seconds_round, files_->checkpoint_seconds()),
                    deadlines_, votes);
      votes.directory_lost = rounds % config_.log.every == 0 && !directory().owned();
    }
    world_.sum(votes.counts());
    if (votes.files_failed > 0) files_->wait();  // throws what failed
    if (votes.directory_lost > 0) {
      on_first_rank(world_, [&] { directory().check_ownership(); });
    }
    return votes;
  }

  // --- files ------------------------------------------------------------------------------------

  /// Collective. Hands over a checkpoint, and before it the block of draws where it is complete.
  void write(bool file) {
    run_.activity.enter("waiting for files");
    files_->wait();
    run_.activity.enter("copying for files");
    std::shared_ptr<const DrawBlock> complete;
    if (file) {
      complete = block_;
      begin_block(draws_done());
    }
    std::vector<at::Tensor> block;
    std::vector<double> scalars;
    std::vector<ArrayView> arrays = chains_->arrays();
    for (const auto& more :
         {block_->arrays(block_->count(), block), kept_->arrays(kept_->draws(), scalars)}) {
      arrays.insert(arrays.end(), more.begin(), more.end());
    }
    deadlines_.last_checkpoint = SystemClock::now();
    files_->write(std::move(complete), arrays,
                  {.iteration = steps(), .progress = progress(), .texts = texts()});
  }

  Progress progress() const {
    Progress progress{{"iteration", steps()},
                      {"draws", draws_done()},
                      {"block_first", block_->first()},
                      {"block_draws", block_->count()},
                      {"kept_draws", kept_->draws()},
                      {"kept_every", kept_->every()},
                      {"seconds_drawing", seconds_drawing_}};
    chains_->add_to(progress);
    return progress;
  }

  std::map<std::string, std::string> texts() const {
    std::map<std::string, std::string> texts{
        {"kind", "sampling"},
        {"config", to_yaml(config_)},
        {"precision", to_string(setup_->precision)},
        {"device", to_string(setup_->device.kind)},
        {source_digest, source_digest_},
        {"versions",
         fmt::format(R"({{"stanley": "{}", "commit": "{}"}})", build_version, build_commit)}};
    if (!setup_->energy_file.digest.empty()) texts[energy_digest] = setup_->energy_file.digest;
    return texts;
  }

  // --- the end ----------------------------------------------------------------------------------

  ExitCode finish(ExitCode code, const std::string& asked_by) {
    run_.activity.enter("waiting for files");
    files_->wait();
    if (code == ExitCode::finished) sum_up_run();
    on_first_rank(world_, [&] {
      remove_unfinished(directory().checkpoints());
      remove_unfinished(directory().samples());
      run_.verdict.record().stop({.iteration = steps(), .code = code, .asked_by = asked_by});
      // Last: who finds it need do nothing more.
      if (code == ExitCode::finished) replace_file(directory().done(), utc_now() + '\n');
    });
    log_.info(code == ExitCode::finished
                  ? fmt::format("finished: {} draws of each of {} chains in {}", draws_done(),
                                config_.chains.total, directory().samples())
                  : fmt::format("stopped after {} chain steps and {} draws, asked by {}; the same "
                                "command goes on from there",
                                steps(), draws_done(), asked_by));
    return code;
  }

  /// Collective.
  void sum_up_run() {
    run_.activity.enter("summing up");
    const SamplingSummary summary = sum_up(config_, *chains_, *kept_, config_.chains.total,
                                           draws_done(), seconds_drawing_, world_);
    if (!leader()) return;
    for (const std::string& line : lines_of(summary)) log_.info(line);
    replace_file(directory().path() + "/summary.json", json_of(summary));
  }

  SystemClock::time_point began_ = SystemClock::now();  // run.until counts from here
  const SamplingRunRequest& request_;
  SamplingSource source_;
  Config& config_;
  Session& session_;
  Communicator& world_;
  Log& log_;
  LivingRun run_;
  std::optional<ComputeSetup> setup_;
  Dataset data_;
  TrainedEnergy energy_;
  std::string source_digest_;
  RankChains rows_;
  Pieces pieces_;
  std::optional<SampledChains> chains_;
  std::optional<Denoiser> denoiser_;
  std::optional<KeptScalars> kept_;
  std::shared_ptr<DrawBlock> block_;  // without a file yet
  Deadlines deadlines_;               // rank 0
  double seconds_drawing_ = 0;        // since the warm-up, of all starts
  double seconds_moving_ = 0, told_at_ = 0, seconds_untold_ = 0;  // of this start
  double energy_sum_ = 0;                                         // of this rank's last draw
  std::optional<SamplingFiles> files_;  // last: its thread uses what stands above
};

}  // namespace

ExitCode run_sampling_run(const SamplingRunRequest& request, Session& session, Log& log) {
  SamplingSource source =
      find_source(request.source, request.overrides, request.average, session.world());
  return SamplingRun(request, std::move(source), session, log).run();
}

}  // namespace stanley
