#include "config/keys.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <type_traits>

#include "config/time_limit.hpp"

namespace stanley {
namespace {

constexpr double largest_count = 1e15;  // integers up to here are exact as doubles

Limits at_least(double low) { return {.low = low}; }
Limits above(double low) { return {.low = low, .low_open = true}; }
Limits between(double low, double high) { return {.low = low, .high = high}; }
Limits from_below(double low, double high) { return {.low = low, .high = high, .high_open = true}; }
Limits above_up_to(double low, double high) { return {.low = low, .high = high, .low_open = true}; }
Limits count() { return between(1, largest_count); }
/// Ids of chains and samples are 32-bit words of the random counter.
Limits id_count() { return between(1, 4294967295.0); }

Limits side() { return between(2, 65536); }
Limits increasing() { return {.increasing = true}; }

bool is_name(const std::string& text) {
  const auto allowed = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.' || c == '_' || c == '-';
  };
  return text.size() <= 200 && std::ranges::all_of(text, allowed) &&
         text.find_first_not_of('.') != std::string::npos;
}

bool is_path(const std::string& text) { return !text.empty(); }
bool is_time_limit(const std::string& text) { return end_time(text, {}).has_value(); }

constexpr TextForm name_form{
    "a name of letters, digits and . _ - (no other characters, not all dots)",
    "^(?=.*[^.])[A-Za-z0-9._-]{1,200}$", is_name};
constexpr TextForm folder_form{"the path of a folder (. is the one that the program starts in)",
                               ".", is_path};
constexpr TextForm features_form{"the path of a file, or states", ".", is_path};
constexpr TextForm time_limit_form{
    "a local time YYYY-MM-DDTHH:MM:SS or a duration such as 3h30m",
    "^(\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d|(?=.)(\\d+d)?(\\d+h)?(\\d+m)?(\\d+s)?)$",
    is_time_limit};

Limits of(const TextForm& form) { return {.form = &form}; }

template <typename Enum>
Choice choice(Enum& member) {
  constexpr auto names = names_of(Enum{});
  return {.names = {names.begin(), names.end()},
          .read = [&member] { return static_cast<std::size_t>(member); },
          .write = [&member](std::size_t index) { member = static_cast<Enum>(index); }};
}

std::vector<Key> keys_of(RunConfig& run) {
  return {
      {"run.name", "name of the run: its directory is directory/name", &run.name, of(name_form)},
      {"run.seed", "every random number is a function of it", &run.seed, between(0, 4294967295.0)},
      {"run.iterations", "weight updates", &run.iterations, count()},
      {"run.directory", "folder that run directories are made in; ~ and $NAME are written out",
       &run.directory, of(folder_form)},
      {"run.device", "what chains and network run on; auto takes the GPU where there is one",
       choice(run.device)},
      {"run.precision",
       "arithmetic of the chains' network; auto: bfloat16 for convnet and resnet where all ranks "
       "have GPUs or AMX, else float32",
       choice(run.precision)},
      {"run.reproducible",
       "bitwise the same result on every number of ranks (slower: fixed order of all sums)",
       &run.reproducible},
      {"run.until",
       "end of the wall time: checkpoint and stop before it, or before the end of the Slurm job",
       &run.until, of(time_limit_form)},
      {"run.threads", "threads of each rank; null: its share of the node's cores", &run.threads,
       between(1, 65536)},
  };
}

std::vector<Key> keys_of(EnergyConfig& energy) {
  return {
      {"energy.type", "the network; torchscript: your own, from a file", choice(energy.type)},
      {"energy.path", "the file that torch.jit.script(module).save() makes (torchscript)",
       &energy.path},
      {"energy.channels", "channels of the first convolution (convnet, resnet)", &energy.channels,
       between(1, 65536)},
      {"energy.levels", "how often the convnet halves images", &energy.levels, between(1, 3)},
      {"energy.downsampling",
       "how the convnet halves images: convolutions of 4×4 pixels and stride 2, or of 3×3 and "
       "means over 2×2, which leave less of a grid in the gradient",
       choice(energy.downsampling)},
      {"energy.activation", "between all layers", choice(energy.activation)},
      {"energy.slope", "of leaky_relu below zero", &energy.slope, from_below(0, 1)},
      {"energy.spectral_normalization", "divide each weight by its largest singular value",
       &energy.spectral_normalization},
      {"energy.blocks", "residual blocks at each resolution (resnet)", &energy.blocks,
       between(1, 1024)},
      {"energy.hidden", "widths of the hidden layers (mlp)", &energy.hidden, between(1, 1 << 20)},
  };
}

std::vector<Key> keys_of(DataConfig& data) {
  return {
      {"data.type", "images of a file, or points in the plane from a known density",
       choice(data.type)},
      {"data.path",
       "the HDF5 file that tools/convert_images.py makes (type file); ~ and $NAME are written out",
       &data.path},
      {"data.split", "its group of images", &data.split, of(name_form)},
      {"data.batch", "samples in an iteration, of all ranks together", &data.batch, id_count()},
      {"data.size",
       "side of the images, which are reduced to it by means over squares of pixels; divides the "
       "file's (type file); null: as the file has them",
       &data.size, side()},
      {"data.noise", "standard deviation of the noise added at each use, in units of the states",
       &data.noise, at_least(0)},
      {"data.flip", "mirror images left to right with probability 1/2 (type file)", &data.flip},
      {"data.range", "the states that the smallest and largest value of the data become",
       &data.range, increasing()},
      {"data.samples", "size of the data set (every type but file)", &data.samples, id_count()},
  };
}

std::vector<Key> keys_of(ChainsConfig& chains) {
  return {
      {"chains.total", "chains in the bank (C)", &chains.total, id_count()},
      {"chains.active", "chains that move in an iteration (B); divides total", &chains.active,
       id_count()},
      {"chains.shards", "parts that the work is dealt in (S); divides total, active and data.batch",
       &chains.shards, between(1, 1 << 30)},
      {"chains.start",
       "the law that chains start from, or several with their shares; bank, for `stanley sample` "
       "only: where they stood",
       &chains.start, above_up_to(0, 1)},
      {"chains.principal_components",
       "directions of largest variance that data_gaussian keeps of each class's covariance: fewer "
       "give smoother starts; null: all",
       &chains.principal_components, count()},
      {"chains.restart_probability", "at each visit of a chain; {from, to}: linear over the run",
       &chains.restart_probability, between(0, 1)},
      {"chains.burn_in",
       "chain steps; younger chains move but count neither in the loss nor in an evaluation (where "
       "none is older, all count)",
       &chains.burn_in, between(0, largest_count)},
      {"chains.maximum_age",
       "chain steps after which a chain restarts at its next visit; those of iteration 0 at random "
       "ages up to there, so that they do so one by one; null: no limit",
       &chains.maximum_age, count()},
  };
}

std::vector<Key> keys_of(SamplerConfig& sampler) {
  return {
      {"sampler.type", "the transition: see \"Samplers\" above", choice(sampler.type)},
      {"sampler.steps", "chain steps in an iteration (K)", &sampler.steps, between(1, 1 << 30)},
      {"sampler.step_size", "α: the drift is α/2 times the gradient", &sampler.step_size, above(0)},
      {"sampler.noise", "σ of a step, in units of the states; exactly one of noise and temperature",
       &sampler.noise, above(0)},
      {"sampler.temperature", "T, with σ² = αT", &sampler.temperature, above(0)},
      {"sampler.threshold", "th of the gain th/max(th, |∇E|) (stanley); quantile: each chain's own",
       &sampler.threshold, at_least(0)},
      {"sampler.refresh", "when the gain is computed anew: once an iteration or at every step",
       choice(sampler.refresh)},
      {"sampler.box", "the interval that states are projected into; null: none", &sampler.box,
       increasing()},
      {"sampler.metropolis",
       "accept or reject each step, so that the law is exp(−E/T); in a box proposals are folded at "
       "the walls then",
       &sampler.metropolis},
      {"sampler.drift_correction", "add the drift (αT/2)·∂γ/∂z that stanley leaves out",
       &sampler.drift_correction},
      {"sampler.trajectory.steps", "leapfrog steps of √α in a chain step (hmc)",
       &sampler.trajectory.steps, between(1, 1 << 20)},
      {"sampler.trajectory.jitter",
       "each trajectory's √α is multiplied by 1 ± jitter, at random (hmc)",
       &sampler.trajectory.jitter, from_below(0, 1)},
      {"sampler.trajectory.refreshment",
       "share of the momentum's variance that is drawn anew for each trajectory (hmc)",
       &sampler.trajectory.refreshment,
       {.low = 0, .high = 1, .low_open = true}},
      {"sampler.write_every", "chain steps from draw to draw in `stanley sample`",
       &sampler.write_every, count()},
  };
}

std::vector<Key> keys_of(ObjectiveConfig& objective) {
  return {
      {"objective.type", "contrastive: mean energy of data less that of chains",
       choice(objective.type)},
      {"objective.energy_penalty", "weight of the mean squared energies (λ)",
       &objective.energy_penalty, at_least(0)},
      {"objective.denoising",
       "weight of denoising score matching: a step along the gradient shall take noise off data",
       &objective.denoising, at_least(0)},
      {"objective.denoising_noise",
       "the strongest such noise, in units of the states; the weakest is data.noise",
       &objective.denoising_noise, above(0)},
  };
}

std::vector<Key> keys_of(Schedule& schedule) {
  return {
      {"optimizer.schedule.type", "how the learning rate changes", choice(schedule.type)},
      {"optimizer.schedule.warmup", "iterations of linear rise (linear_warmup, cosine)",
       &schedule.warmup, between(0, largest_count)},
      {"optimizer.schedule.decay", "factor of each iteration (exponential)", &schedule.decay,
       above_up_to(0, 1)},
      {"optimizer.schedule.final", "share of the learning rate that is left at the end (cosine)",
       &schedule.final_factor, between(0, 1)},
      {"optimizer.schedule.end",
       "iteration at which cosine ends; null: run.iterations of the first start", &schedule.end,
       count()},
  };
}

std::vector<Key> keys_of(OptimizerConfig& optimizer) {
  return {
      {"optimizer.type", "the weight update", choice(optimizer.type)},
      {"optimizer.learning_rate", "before the schedule", &optimizer.learning_rate, above(0)},
      {"optimizer.betas", "decay of the first and second moment (adam)", &optimizer.betas,
       from_below(0, 1)},
      {"optimizer.epsilon", "added to the root of the second moment (adam)", &optimizer.epsilon,
       above(0)},
      {"optimizer.momentum", "of sgd", &optimizer.momentum, from_below(0, 1)},
      {"optimizer.gradient_clip", "largest norm of the whole gradient; null: no limit",
       &optimizer.gradient_clip, above(0)},
      {"optimizer.average", "decay of the running average of the weights, bias-corrected",
       &optimizer.average, from_below(0, 1)},
  };
}

std::vector<Key> keys_of(CheckpointConfig& checkpoint) {
  return {
      {"checkpoint.every", "iterations from checkpoint to checkpoint; null: by time alone",
       &checkpoint.every, count()},
      {"checkpoint.seconds", "longest time without a checkpoint, s; null: no limit",
       &checkpoint.seconds, above(0)},
      {"checkpoint.keep_last", "newest checkpoints that stay", &checkpoint.keep_last, count()},
      {"checkpoint.keep_every", "checkpoints of its multiples stay too; a multiple of every",
       &checkpoint.keep_every, count()},
      {"checkpoint.hints", "MPI-IO hints, handed on as they are", &checkpoint.hints},
  };
}

std::vector<Key> keys_of_the_record(Config& config) {
  return {
      {"log.every", "iterations from log line to log line", &config.log.every, count()},
      {"samples.every", "iterations from draw file to draw file; null: none", &config.samples.every,
       count()},
      {"samples.chains", "draws of the first so many chains; null: all", &config.samples.chains,
       id_count()},
      {"samples.denoise",
       "what takes the noise of the sampler off draws (the chains keep it): noise-free steps, or "
       "one step along the gradient that is fitted to noised training data; null: nothing",
       &config.samples.denoise, count()},
  };
}

std::vector<Key> keys_of(SamplingConfig& sampling) {
  return {
      {"sampling.warm_up", "chain steps before the first draw (`stanley sample --run-directory`)",
       &sampling.warm_up, between(0, largest_count)},
      {"sampling.draws", "draws of each chain", &sampling.draws, id_count()},
      {"sampling.thin", "chain steps from draw to draw", &sampling.thin, between(1, 1 << 30)},
      {"sampling.chains_per_start",
       "chains with neighbouring ids that start at one state (super-chains: R-hat is nested then); "
       "divides a shard's chains",
       &sampling.chains_per_start, id_count()},
      {"sampling.acceptance",
       "share of accepted steps that the warm-up adapts α to, each shard its own; null: α stays",
       &sampling.acceptance,
       {.low = 0, .high = 1, .low_open = true, .high_open = true}},
      {"sampling.unadjusted",
       "begin the warm-up without the correction, until the thermometer is within 10 % of T, for "
       "half of it at most",
       &sampling.unadjusted},
      {"sampling.states",
       "a draw file or a checkpoint whose states chains start from, in turn, in place of "
       "chains.start; ~ and $NAME are written out",
       &sampling.states},
      {"sampling.draws_per_file", "draws of all chains in a file; null: as many as 256 MB hold",
       &sampling.draws_per_file, id_count()},
  };
}

std::vector<Key> keys_of_the_safety(Config& config) {
  return {
      {"guard.enabled",
       "when the training diverges, roll it back to an older checkpoint with new noise and half "
       "the learning rate; false: only numbers that are not finite end it, with exit code 4",
       &config.guard.enabled},
      {"guard.attempts", "roll-backs before the run gives up with exit code 4",
       &config.guard.attempts, between(1, 65535)},
      {"guard.warmup", "first iterations, in which no band is judged", &config.guard.warmup,
       count()},
      {"guard.patience", "iterations in a row out of band that count as divergence",
       &config.guard.patience, count()},
      {"guard.deviations", "width of the bands, in running deviations", &config.guard.deviations,
       above(0)},
      {"guard.probation",
       "iterations after a checkpoint in which nothing was seen, before it is one to roll back to",
       &config.guard.probation, count()},
      {"watchdog.seconds",
       "without progress on any rank for so long the run ends with exit code 6; more than one "
       "chain step, one weight gradient or 64 MB of a file take, s",
       &config.watchdog.seconds, above(0)},
      {"evaluation.every",
       "iterations from one comparison of the chains with data (KID) to the next, which keeps the "
       "best checkpoint; null: none",
       &config.evaluation.every, count()},
      {"evaluation.chains",
       "chains that are compared, evenly from all shards; null: 256, or all where they are fewer",
       &config.evaluation.chains, between(2, 4294967295.0)},
      {"evaluation.features",
       "what images are compared in: a TorchScript network with a .json beside it, or states; "
       "points are their own features; ~ and $NAME are written out",
       &config.evaluation.features, of(features_form)},
  };
}

std::vector<Key> keys_of_the_stages(Config& config) {
  return {{"stages",
           "sizes of images that are trained one after the other, each twice the one before, up to "
           "the data's own; all but the last with their iterations; steps, active, batch and "
           "learning_rate hold in a stage in place of those of sampler, chains, data and optimizer",
           &config.stages}};
}

struct Words {
  const Key& key;

  template <typename Integer>
  requires std::is_integral_v<Integer> std::string operator()(const Integer*) const {
    return "an integer" + key.limits.text();
  }
  std::string operator()(const double*) const { return "a number" + key.limits.text(); }
  std::string operator()(const bool*) const { return "true or false"; }
  std::string operator()(const std::string*) const {
    return key.limits.form ? key.limits.form->words : "text";
  }
  std::string operator()(const std::array<double, 2>*) const {
    return key.limits.increasing ? "two numbers [low, high] with low < high"
                                 : "a list of two numbers" + key.limits.text();
  }
  std::string operator()(const std::vector<std::int64_t>*) const {
    return "a list of integers" + key.limits.text();
  }
  std::string operator()(const std::map<std::string, std::string>*) const {
    return "a mapping of names to values";
  }
  std::string operator()(const RestartSchedule*) const {
    return "a number" + key.limits.text() + " or {from: ..., to: ...}";
  }
  std::string operator()(const Threshold*) const {
    return "a number" + key.limits.text() + " or {quantile: q} with q in (0, 1]";
  }
  std::string operator()(const StartMixture*) const {
    return fmt::format("one of {0}, or some of them with shares{1} that add up to 1",
                       fmt::join(names_of(StartType{}), ", "), key.limits.text());
  }
  std::string operator()(const Denoise*) const {
    return "{steps: n} with n" + key.limits.text() + ", {fitted: true}, or null";
  }
  std::string operator()(const std::vector<StageConfig>*) const {
    return "a list of stages {size: ..., iterations: ...}";
  }
  std::string operator()(const Choice& choice) const {
    return choice.names.size() == 1 ? std::string(choice.names.front())
                                    : fmt::format("one of {}", fmt::join(choice.names, ", "));
  }
  template <typename T>
  std::string operator()(const std::optional<T>*) const {
    return (*this)(static_cast<const T*>(nullptr)) + ", or null";
  }
};

}  // namespace

bool Limits::hold(double value) const {
  return (low_open ? value > low : value >= low) && (high_open ? value < high : value <= high);
}

std::string Limits::text() const {
  const bool bounded_above = high < largest_count;
  if (bounded_above) {
    return fmt::format(" in {}{}, {}{}", low_open ? "(" : "[", low, high, high_open ? ")" : "]");
  }
  if (low > -std::numeric_limits<double>::infinity()) {
    return fmt::format(" {} {}", low_open ? "above" : "of at least", low);
  }
  return "";
}

std::vector<Key> describe(Config& config) {
  std::vector<Key> keys;
  for (const std::vector<Key>& more :
       {keys_of(config.run), keys_of(config.energy), keys_of(config.data), keys_of(config.chains),
        keys_of(config.sampler), keys_of(config.objective), keys_of(config.optimizer),
        keys_of(config.optimizer.schedule), keys_of_the_record(config), keys_of(config.sampling),
        keys_of(config.checkpoint), keys_of_the_safety(config), keys_of_the_stages(config)}) {
    keys.insert(keys.end(), more.begin(), more.end());
  }
  return keys;
}

std::vector<Key> describe(StageConfig& stage) {
  return {
      {"size", "side of the images", &stage.size, side()},
      {"iterations", "weight updates; of the last stage: what is left", &stage.iterations, count()},
      {"steps", "sampler.steps", &stage.steps, between(1, 1 << 30)},
      {"active", "chains.active", &stage.active, id_count()},
      {"batch", "data.batch", &stage.batch, id_count()},
      {"learning_rate", "optimizer.learning_rate", &stage.learning_rate, above(0)}};
}

std::string expected(const Key& key) { return std::visit(Words{key}, key.member); }

std::vector<std::string> keys_inside(const Key& key) {
  if (std::holds_alternative<RestartSchedule*>(key.member)) {
    return {"from", "to"};
  }
  if (std::holds_alternative<Threshold*>(key.member)) {
    return {"quantile"};
  }
  if (std::holds_alternative<Denoise*>(key.member)) {
    return {"steps", "fitted"};
  }
  if (std::holds_alternative<StartMixture*>(key.member)) {
    constexpr auto names = names_of(StartType{});
    return {names.begin(), names.end()};
  }
  return {};
}

}  // namespace stanley
