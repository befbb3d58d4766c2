#include "sampling/sampling.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <optional>

#include "config/error.hpp"
#include "data/dataset.hpp"
#include "parallel/agree.hpp"
#include "parallel/device.hpp"
#include "run/stop.hpp"
#include "run/stopwatch.hpp"
#include "run/unfinished.hpp"
#include "sampler/pieces.hpp"
#include "sampling/denoiser.hpp"
#include "sampling/describe_draws.hpp"
#include "sampling/setup.hpp"
#include "sampling/source.hpp"
#include "sampling/starts.hpp"
#include "storage/draws.hpp"

namespace stanley {
namespace {

/// One sampling, from the checkpoint to the draw file.
class Sampling {
 public:
  Sampling(const SamplingRequest& request, Session& session, Log& log)
      : request_(request), session_(session), world_(session.world()), log_(log) {}

  ExitCode run() {
    on_first_rank(world_, [&] { check_output(); });
    source_ = find_source(request_.checkpoint, request_.overrides, request_.average, world_);
    const ComputeSetup setup = set_up(config_, session_);
    shards_ = deal_shards(config_.chains.shards, session_.rank(), session_.size());
    per_shard_ = config_.chains.total / config_.chains.shards;
    energy_ = load_energy(source_, setup, dataset_, world_);
    digest_ = digest_of(source_, setup);
    chains_ = zero_chains(first(), count(), energy_.network->state_shape(), setup.torch_device);
    start_chains(chains_, source_, dataset_, world_);
    pieces_.most = energy_.most_states;
    if (config_.run.reproducible && !energy_.engine->batch_invariant()) pieces_.group = per_shard_;
    fit_denoiser(setup);
    log_.info(topology_table(session_, setup.device, setup.threads));
    log_.info(fmt::format("{} chains from {}, {} steps by {}, weights: {}", config_.chains.total,
                          to_string(config_.chains.start), config_.sampler.steps,
                          energy_.engine->description(), weights_of(source_)));
    if (!denoiser_->text().empty()) log_.info("draws are denoised by " + denoiser_->text());
    if (!move()) return ExitCode::requeue;
    write();
    return ExitCode::finished;
  }

 private:
  std::int64_t count() const { return shards_.count * per_shard_; }
  std::int64_t first() const { return shards_.first * per_shard_; }

  /// Rank 0, before anything is computed: what would fail, or destroy, at the end.
  void check_output() const {
    namespace fs = std::filesystem;
    const fs::path output(request_.output);
    const auto refuse = [&](const std::string& reason) {
      throw Error(ExitCode::input_output,
                  fmt::format("--output {} {}: choose another name", request_.output, reason));
    };
    if (request_.output.empty()) refuse("is no name");
    std::error_code ignored;
    if (fs::equivalent(output, request_.checkpoint, ignored)) refuse("is the checkpoint itself");
    if (fs::is_symlink(output, ignored)) refuse("is a link, which would be replaced");
    if (fs::exists(output, ignored) && !is_draw_file(request_.output)) {
      refuse("is there and is no draw file");
    }
    const fs::path folder = output.has_parent_path() ? output.parent_path() : fs::path(".");
    if (!fs::is_directory(folder, ignored) || ::access(folder.c_str(), W_OK) != 0) {
      refuse(fmt::format("can't be written in {} ({})", folder.string(), std::strerror(errno)));
    }
  }

  /// False if a signal stopped it.
  bool move() {
    const auto transition = make_piecewise_transition(pieces_, [&] {
      return make_transition(config_.sampler, {config_.run.seed, random::Stream::sampling, 0});
    });
    chains_.memory = start_memory(transition->memory(), chains_.state);
    const auto accepted = static_cast<std::int64_t>(column_number(*transition, "acceptance_rate"));
    Stopwatch watch;
    double seconds = 0;
    for (std::int64_t done = 0; done < config_.sampler.steps;) {
      const std::int64_t steps =
          std::min(config_.sampler.write_every, config_.sampler.steps - done);
      const at::Tensor statistics =
          transition->advance(*energy_.engine, chains_, static_cast<std::uint64_t>(done), steps);
      done += steps;
      keep(done, statistics[accepted]);
      std::int64_t stop[1] = {take_request().stop ? 1 : 0};
      world_.sum(std::span<std::int64_t>(stop));
      if (stop[0] > 0) {
        log_.warn("stopped by a signal; nothing was written");
        return false;
      }
      seconds += watch.lap();
      const double rate = static_cast<double>(done) / seconds;
      log_.info(fmt::format(
          "step {}/{} | mean E {:.4f} | {:.0f} chain steps/s | {} left", done,
          config_.sampler.steps, mean_energy(), rate * static_cast<double>(config_.chains.total),
          duration_text(static_cast<double>(config_.sampler.steps - done) / rate)));
    }
    return true;
  }

  /// Keeps the present states as one draw, without the sampler's noise where that is asked for.
  void keep(std::int64_t step, const at::Tensor& acceptance) {
    steps_.push_back(step);
    const auto [states, energies] = denoiser_->draws(*energy_.engine, chains_, pieces_);
    states_.push_back(states);
    energies_.push_back(energies);
    acceptance_.push_back(acceptance.to(at::kCPU));
  }

  void fit_denoiser(const ComputeSetup& setup) {
    denoiser_.emplace(config_);
    if (!denoiser_->fitted()) return;
    // Noised training data, whatever the chains start from.
    if (dataset_.size() == 0) dataset_ = Dataset::load(config_.data, config_.run.seed, world_);
    const auto refused =
        denoiser_->fit(*energy_.engine, dataset_, pieces_.most, setup.torch_device);
    if (refused) throw Error(ExitCode::configuration, *refused);
  }

  /// A number of each draw [n] as [n, draws].
  static std::vector<double> by_chain(const std::vector<at::Tensor>& of_draws) {
    const at::Tensor all = at::stack(of_draws, 1).contiguous();
    return {all.const_data_ptr<double>(), all.const_data_ptr<double>() + all.numel()};
  }

  double mean_energy() {
    double sum[1] = {energies_.back().sum().item<double>()};
    world_.sum(std::span<double>(sum));
    return sum[0] / static_cast<double>(config_.chains.total);
  }

  void write() {
    const auto draws_kept = static_cast<std::int64_t>(steps_.size());
    const at::Tensor states = at::stack(states_, 1).contiguous();
    DrawColumns columns;
    columns.energies = by_chain(energies_);
    columns.acceptance = by_chain(acceptance_);
    for (std::int64_t i = 0; i < count(); ++i) {
      columns.ages.insert(columns.ages.end(), steps_.begin(), steps_.end());
    }
    columns.restarts.assign(columns.ages.size(), 0);
    DrawSet draws;
    draws.state_shape = energy_.network->state_shape();
    draws.chains = config_.chains.total;
    draws.chains_per_shard = per_shard_;
    draws.first_chain = first();
    draws.chain_count = count();
    draws.draw_numbers = steps_;
    draws.states = states.const_data_ptr<float>();
    describe(draws, columns, config_);
    draws.attributes.merge(attributes_of(source_, digest_));
    if (!denoiser_->text().empty()) draws.attributes["denoise"] = denoiser_->text();
    if (world_.rank() == 0) remove_abandoned(request_.output);
    // Two that write the same file don't share the unfinished one: the later one wins, whole.
    const FileOptions options{.job = world_.broadcast(process_token(), 0)};
    const CommitReport report = write_draws(world_, request_.output, draws, options);
    log_.info(fmt::format("{} draws of {} chains in {} ({:.1f} MB)", draws_kept,
                          config_.chains.total, report.path,
                          static_cast<double>(report.bytes) / 1e6));
  }

  const SamplingRequest& request_;
  Session& session_;
  Communicator& world_;
  Log& log_;
  SamplingSource source_;
  const Config& config_ = source_.config;
  Shards shards_;
  std::int64_t per_shard_ = 0;
  Dataset dataset_;
  TrainedEnergy energy_;
  std::string digest_;  // of the energy
  Pieces pieces_;
  std::optional<Denoiser> denoiser_;
  ChainBatch chains_;
  std::vector<std::int64_t> steps_;
  std::vector<at::Tensor> states_, energies_, acceptance_;  // one for each draw
};

}  // namespace

ExitCode run_sampling(const SamplingRequest& request, Session& session, Log& log) {
  return Sampling(request, session, log).run();
}

}  // namespace stanley
