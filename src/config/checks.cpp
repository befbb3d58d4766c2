#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <string>

#include "config/reader.hpp"

namespace stanley {
namespace {

class Checker {
 public:
  Checker(const Value& document, Problems& problems) : document_(document), problems_(problems) {}

  /// `paths` are the keys that the relation joins; `message` follows the path of the one reported.
  void require(bool holds, std::initializer_list<std::string> paths, const std::string& message) {
    const bool trusted = std::ranges::all_of(
        paths, [this](const std::string& path) { return problems_.trusts(path); });
    if (holds || !trusted) {
      return;
    }
    const auto given = std::ranges::find_if(
        paths, [this](const std::string& path) { return document_.descendant(path) != nullptr; });
    if (given == paths.end()) {
      problems_.add_relation({}, *paths.begin(), message);
    } else {
      problems_.add_relation(document_.descendant(*given)->place, *given, message);
    }
  }

  /// "chains.total 2048", or "chains.total 2048 (the default)" where the document is silent.
  template <typename T>
  std::string named(const std::string& path, const T& value) const {
    return fmt::format("{} {}{}", path, value,
                       document_.descendant(path) == nullptr ? " (the default)" : "");
  }

  void divides(const std::string& divisor_path, std::int64_t divisor, const std::string& path,
               std::int64_t value) {
    require(value % divisor == 0, {path, divisor_path},
            fmt::format("{} must divide {}", named(divisor_path, divisor), named(path, value)));
  }

  void at_most(const std::string& path, std::int64_t value, const std::string& limit_path,
               std::int64_t limit) {
    require(value <= limit, {path, limit_path},
            fmt::format("{} must be at most {}", named(path, value), named(limit_path, limit)));
  }

 private:
  const Value& document_;
  Problems& problems_;
};

void check_chains(const Config& config, Checker& checker) {
  const ChainsConfig& chains = config.chains;
  checker.divides("chains.shards", chains.shards, "chains.total", chains.total);
  checker.divides("chains.shards", chains.shards, "chains.active", chains.active);
  checker.divides("chains.shards", chains.shards, "data.batch", config.data.batch);
  checker.at_most("data.batch", config.data.batch, "chains.total", chains.total);
  checker.at_most("chains.active", chains.active, "chains.total", chains.total);
  if (chains.active <= chains.total) {
    checker.divides("chains.active", chains.active, "chains.total", chains.total);
  }
  checker.require(!chains.start.has(StartType::bank) || chains.start.shares.size() == 1,
                  {"chains.start"},
                  "bank goes on with the chains of a checkpoint, all of them: it has no share");
  if (chains.maximum_age) {
    checker.require(chains.burn_in < *chains.maximum_age, {"chains.burn_in", "chains.maximum_age"},
                    fmt::format("{} must be below {}: no chain would count in the loss",
                                checker.named("chains.burn_in", chains.burn_in),
                                checker.named("chains.maximum_age", *chains.maximum_age)));
  }
}

void check_objective(const Config& config, Checker& checker) {
  const ObjectiveConfig& objective = config.objective;
  if (objective.denoising == 0) return;
  checker.require(config.data.noise > 0, {"objective.denoising", "data.noise"},
                  "data.noise is 0: the energy's law is that of data with this noise, which "
                  "objective.denoising teaches its gradient to take off; set it above 0");
  checker.require(objective.denoising_noise >= config.data.noise,
                  {"objective.denoising_noise", "data.noise"},
                  fmt::format("{} must be at least {}, the weakest noise that is taken off",
                              checker.named("objective.denoising_noise", objective.denoising_noise),
                              checker.named("data.noise", config.data.noise)));
}

void check_sampler(const Config& config, Checker& checker) {
  const SamplerConfig& sampler = config.sampler;
  checker.require(!(sampler.noise && sampler.temperature), {"sampler.temperature", "sampler.noise"},
                  "sampler.noise and sampler.temperature fix each other (noise² = step_size · "
                  "temperature): set one of them to null");
  checker.require(sampler.noise || sampler.temperature, {"sampler.noise", "sampler.temperature"},
                  "one of sampler.noise and sampler.temperature must be a number above 0 (a "
                  "sampler without noise is sampler.type gradient_descent)");
}

/// Which transitions can be corrected, and which exist corrected alone.
void check_correction(const Config& config, Checker& checker) {
  const SamplerConfig& sampler = config.sampler;
  const std::string type = to_string(sampler.type);
  const bool moving_gain =
      sampler.type == TransitionType::stanley && sampler.refresh == Refresh::iteration;
  checker.require(!(sampler.metropolis && moving_gain), {"sampler.metropolis", "sampler.refresh"},
                  "sampler.metropolis true contradicts sampler.refresh iteration: the gain then "
                  "depends on the state at the iteration's start, so that the ratio of the "
                  "proposals can't be computed; set sampler.refresh to step");
  checker.require(!(sampler.metropolis && sampler.type == TransitionType::gradient_descent),
                  {"sampler.metropolis", "sampler.type"},
                  "gradient_descent has no noise, so that no step leads back and none could be "
                  "accepted: set sampler.metropolis to false, or sampler.type to langevin");
  const bool only_corrected = sampler.type == TransitionType::barker ||
                              sampler.type == TransitionType::random_walk ||
                              sampler.type == TransitionType::hmc;
  checker.require(sampler.metropolis || !only_corrected, {"sampler.type", "sampler.metropolis"},
                  fmt::format("sampler.type {} has the law exp(-E/T) by accepting or rejecting "
                              "alone: set sampler.metropolis to true",
                              type));
  checker.require(!sampler.drift_correction || sampler.type == TransitionType::stanley,
                  {"sampler.drift_correction", "sampler.type"},
                  fmt::format("sampler.drift_correction is of stanley's gain, and sampler.type is "
                              "{}: leave it out",
                              type));
  checker.require(!(sampler.drift_correction && moving_gain),
                  {"sampler.drift_correction", "sampler.refresh"},
                  "sampler.drift_correction adds what a gain that changes with the state leaves "
                  "out, and with sampler.refresh iteration it is held: set that to step");
  checker.require(
      sampler.trajectory == Trajectory{} || sampler.type == TransitionType::hmc,
      {"sampler.trajectory.steps", "sampler.trajectory.jitter", "sampler.trajectory.refreshment",
       "sampler.type"},
      fmt::format("sampler.trajectory is of hmc, and sampler.type is {}: leave it out", type));
  checker.require(sampler.type != TransitionType::tamed || sampler.threshold.value != 0.0,
                  {"sampler.threshold", "sampler.type"},
                  "sampler.threshold 0 lets tamed chains drift nowhere: set it above 0, or to a "
                  "quantile");
}

void check_energy(const Config& config, Checker& checker) {
  const EnergyConfig& energy = config.energy;
  const bool from_file = energy.type == EnergyType::torchscript;
  checker.require(!from_file || !energy.path.empty(), {"energy.path", "energy.type"},
                  "energy.path must name a TorchScript file, as energy.type is torchscript");
  checker.require(from_file || energy.path.empty(), {"energy.path", "energy.type"},
                  fmt::format("energy.path names a TorchScript file, but energy.type is {}: set it "
                              "to torchscript, or leave energy.path out",
                              to_string(energy.type)));
  checker.require(
      energy.type == EnergyType::convnet || energy.downsampling == Downsampling::strides,
      {"energy.downsampling", "energy.type"},
      fmt::format("energy.downsampling means is the convnet's, but energy.type is {}: leave it out",
                  to_string(energy.type)));
  checker.require(energy.type == EnergyType::convnet || energy.levels == EnergyConfig{}.levels,
                  {"energy.levels", "energy.type"},
                  fmt::format("energy.levels is the convnet's, but energy.type is {}: leave it out",
                              to_string(energy.type)));
}

void check_data(const Config& config, Checker& checker) {
  const DataConfig& data = config.data;
  const bool from_file = data.type == DataType::file;
  checker.require(!from_file || !data.path.empty(), {"data.path", "data.type"},
                  "data.path must name an HDF5 file, as data.type is file");
  checker.require(
      from_file || !data.flip, {"data.flip", "data.type"},
      fmt::format("data.flip mirrors images, but data.type {} has none", to_string(data.type)));
  checker.require(
      from_file || !data.size, {"data.size", "data.type"},
      fmt::format("data.size reduces images, but data.type {} has none", to_string(data.type)));
  if (!from_file) {
    checker.at_most("data.batch", data.batch, "data.samples", data.samples);
    return;
  }
  if (const auto& box = config.sampler.box) {
    const std::string message = fmt::format(
        "data.range [{}, {}] must lie inside sampler.box [{}, {}]: data and chains live in the "
        "same place",
        data.range[0], data.range[1], (*box)[0], (*box)[1]);
    checker.require((*box)[0] <= data.range[0] && data.range[1] <= (*box)[1],
                    {"data.range", "sampler.box"}, message);
  }
}

void check_optimizer(const Config& config, Checker& checker) {
  const OptimizerConfig& optimizer = config.optimizer;
  const Schedule& schedule = optimizer.schedule;
  checker.require(optimizer.type == OptimizerType::sgd || optimizer.momentum == 0.0,
                  {"optimizer.momentum", "optimizer.type"},
                  "optimizer.momentum belongs to sgd: with optimizer.type adam set it to 0 and use "
                  "optimizer.betas");
  checker.require(schedule.type != ScheduleType::linear_warmup || schedule.warmup > 0,
                  {"optimizer.schedule.warmup", "optimizer.schedule.type"},
                  "optimizer.schedule.type linear_warmup needs optimizer.schedule.warmup above 0");
  checker.require(
      schedule.type != ScheduleType::cosine || !schedule.end || schedule.warmup < *schedule.end,
      {"optimizer.schedule.end", "optimizer.schedule.warmup"},
      "optimizer.schedule.end must be above optimizer.schedule.warmup");
}

void check_samples(const Config& config, Checker& checker) {
  checker.require(!config.samples.denoise.fitted || config.data.noise > 0,
                  {"samples.denoise", "data.noise"},
                  "samples.denoise {fitted: true} is fitted to noised data, and data.noise is 0: "
                  "take noise-free steps, {steps: n}");
}

void check_sampling(const Config& config, Checker& checker) {
  const SamplingConfig& sampling = config.sampling;
  const SamplerConfig& sampler = config.sampler;
  const std::int64_t per_shard = config.chains.total / config.chains.shards;
  checker.require(
      per_shard % sampling.chains_per_start == 0,
      {"sampling.chains_per_start", "chains.total", "chains.shards"},
      fmt::format("{} must divide the {} chains of a shard (chains.total/chains.shards)",
                  checker.named("sampling.chains_per_start", sampling.chains_per_start),
                  per_shard));
  const auto wants = [&](bool asked, const char* key, const char* what) {
    checker.require(!asked || sampler.metropolis, {key, "sampler.metropolis"},
                    fmt::format("{} {}, and sampler.metropolis is false: set it to true, or leave "
                                "{} out",
                                key, what, key));
    checker.require(!asked || sampling.warm_up > 0, {key, "sampling.warm_up"},
                    fmt::format("{} needs a warm-up: set sampling.warm_up above 0", key));
  };
  wants(sampling.acceptance.has_value(), "sampling.acceptance",
        "is a share of steps that are accepted");
  wants(sampling.unadjusted, "sampling.unadjusted", "leaves a correction out for a while");
  const bool only_corrected = sampler.type == TransitionType::barker ||
                              sampler.type == TransitionType::random_walk ||
                              sampler.type == TransitionType::hmc;
  checker.require(!(sampling.unadjusted && only_corrected), {"sampling.unadjusted", "sampler.type"},
                  fmt::format("sampling.unadjusted true needs a transition that exists without the "
                              "correction, and sampler.type is {}: set it to false",
                              to_string(sampler.type)));
}

void check_evaluation(const Config& config, Checker& checker) {
  const EvaluationConfig& evaluation = config.evaluation;
  if (!evaluation.every) return;
  checker.at_most("evaluation.chains", evaluation.sample(config.chains.total), "chains.total",
                  config.chains.total);
  checker.require(config.chains.total > 1, {"chains.total", "evaluation.every"},
                  "evaluation compares pairs of chains, and chains.total is 1: raise it, or set "
                  "evaluation.every to null");
}

void check_checkpoints(const Config& config, Checker& checker) {
  const CheckpointConfig& checkpoint = config.checkpoint;
  if (!checkpoint.keep_every) {
    return;
  }
  checker.require(
      checkpoint.every && *checkpoint.keep_every % *checkpoint.every == 0,
      {"checkpoint.keep_every", "checkpoint.every"},
      fmt::format("checkpoint.keep_every {} must be a multiple of {}", *checkpoint.keep_every,
                  checkpoint.every ? checker.named("checkpoint.every", *checkpoint.every)
                                   : "checkpoint.every, which is null"));
}

/// What a run must be to have stages at all.
void check_run_of_stages(const Config& config, Checker& checker) {
  checker.require(
      config.energy.type == EnergyType::convnet, {"stages", "energy.type"},
      fmt::format("stages grow a convnet, but energy.type is {}: set it to convnet, or leave "
                  "stages out",
                  to_string(config.energy.type)));
  checker.require(!config.energy.spectral_normalization,
                  {"stages", "energy.spectral_normalization"},
                  "a convnet with energy.spectral_normalization true can't grow and keep its "
                  "energy: set it to false, or leave stages out");
  checker.require(config.data.type == DataType::file, {"stages", "data.type"},
                  fmt::format("stages are of images, but data.type {} has none: set it to file, or "
                              "leave stages out",
                              to_string(config.data.type)));
  checker.require(!config.data.size, {"stages", "data.size"},
                  "stages say how large images are, and so does data.size: leave that out");
  const auto levels = static_cast<std::size_t>(config.energy.levels);
  checker.require(config.stages.size() <= levels, {"stages", "energy.levels"},
                  fmt::format("there are {} stages, and the convnet halves images {} times "
                              "(energy.levels): give at most {} stages",
                              config.stages.size(), levels, levels));
  const std::int64_t channels = config.energy.channels << (config.stages.size() - 1);
  constexpr std::int64_t most_channels = 65536;  // as energy.channels
  checker.require(channels <= most_channels, {"stages", "energy.channels"},
                  fmt::format("the first stage's convnet begins with {} channels, above {}: lower "
                              "energy.channels",
                              channels, most_channels));
}

/// Sizes that double, and iterations that leave some for the last stage.
void check_lengths_of_stages(const Config& config, Checker& checker) {
  const std::vector<StageConfig>& stages = config.stages;
  std::int64_t before_last = 0;
  for (std::size_t i = 0; i < stages.size(); ++i) {
    const bool last = i + 1 == stages.size();
    checker.require(i == 0 || stages[i].size == 2 * stages[i - 1].size, {"stages"},
                    fmt::format("the size of each stage is twice the one before, and {} follows {}",
                                stages[i].size, i == 0 ? 0 : stages[i - 1].size));
    checker.require(last || stages[i].iterations, {"stages"},
                    fmt::format("stage {} (size {}) has no iterations: only the last one's are "
                                "what is left of run.iterations",
                                i + 1, stages[i].size));
    checker.require(!last || !stages[i].iterations, {"stages"},
                    "the last stage has what is left of run.iterations: leave its iterations out");
    if (!last) before_last += stages[i].iterations.value_or(0);
  }
  checker.require(before_last < config.run.iterations, {"stages", "run.iterations"},
                  fmt::format("the stages before the last take {} iterations, which leaves the "
                              "last none of {}",
                              before_last, checker.named("run.iterations", config.run.iterations)));
}

void check_stages(const Config& config, Checker& checker) {
  if (config.stages.empty()) return;
  check_run_of_stages(config, checker);
  check_lengths_of_stages(config, checker);
  const ChainsConfig& chains = config.chains;
  for (std::size_t i = 0; i < config.stages.size(); ++i) {
    const auto require = [&](bool holds, const std::string& what, const char* key) {
      checker.require(holds, {"stages", key}, fmt::format("stage {}: {}", i + 1, what));
    };
    if (const auto& active = config.stages[i].active) {
      require(*active % chains.shards == 0,
              fmt::format("chains.shards {} must divide active {}", chains.shards, *active),
              "chains.shards");
      require(chains.total % *active == 0,
              fmt::format("active {} must divide chains.total {}", *active, chains.total),
              "chains.total");
    }
    if (const auto& batch = config.stages[i].batch) {
      require(*batch % chains.shards == 0,
              fmt::format("chains.shards {} must divide batch {}", chains.shards, *batch),
              "chains.shards");
      require(*batch <= chains.total,
              fmt::format("batch {} must be at most chains.total {}", *batch, chains.total),
              "chains.total");
    }
  }
}

}  // namespace

void check_relations(const Config& config, const Value& document, Problems& problems) {
  Checker checker(document, problems);
  check_chains(config, checker);
  check_energy(config, checker);
  check_sampler(config, checker);
  check_correction(config, checker);
  check_objective(config, checker);
  check_data(config, checker);
  check_optimizer(config, checker);
  check_checkpoints(config, checker);
  check_samples(config, checker);
  check_sampling(config, checker);
  check_evaluation(config, checker);
  check_stages(config, checker);
}

}  // namespace stanley
