#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "config/activation.hpp"

namespace stanley {

// The configuration of a run: plain values, checked when they are read (load_config), printed by
// to_yaml. The meaning, unit and range of each key stand once, in config/keys.cpp.

// The enumerations, each with the names of its values in the file.

enum class DeviceKind { automatic, cpu, cuda };
constexpr auto names_of(DeviceKind) { return std::array{"auto", "cpu", "cuda"}; }
enum class Precision { automatic, float32, bfloat16 };
constexpr auto names_of(Precision) { return std::array{"auto", "float32", "bfloat16"}; }
enum class EnergyType { mlp, convnet, resnet, torchscript };
constexpr auto names_of(EnergyType) {
  return std::array{"mlp", "convnet", "resnet", "torchscript"};
}
enum class Downsampling { strides, means };
constexpr auto names_of(Downsampling) { return std::array{"strides", "means"}; }
enum class DataType { file, eight_gaussians, pinwheel, checkerboard, rings };
constexpr auto names_of(DataType) {
  return std::array{"file", "eight_gaussians", "pinwheel", "checkerboard", "rings"};
}
enum class StartType { uniform, normal, data, data_gaussian, bank };
constexpr auto names_of(StartType) {
  return std::array{"uniform", "normal", "data", "data_gaussian", "bank"};
}
enum class TransitionType {
  stanley,
  langevin,
  gradient_descent,
  tamed,
  preconditioned_langevin,
  barker,
  random_walk,
  hmc
};
constexpr auto names_of(TransitionType) {
  return std::array{
      "stanley",     "langevin", "gradient_descent", "tamed", "preconditioned_langevin", "barker",
      "random_walk", "hmc"};
}
enum class Refresh { iteration, step };
constexpr auto names_of(Refresh) { return std::array{"iteration", "step"}; }
enum class ObjectiveType { contrastive };
constexpr auto names_of(ObjectiveType) { return std::array{"contrastive"}; }
enum class OptimizerType { adam, sgd };
constexpr auto names_of(OptimizerType) { return std::array{"adam", "sgd"}; }
enum class ScheduleType { constant, linear_warmup, exponential, cosine };
constexpr auto names_of(ScheduleType) {
  return std::array{"constant", "linear_warmup", "exponential", "cosine"};
}

/// The name that the configuration file uses ("auto" for `automatic`).
template <typename Enum>
requires requires(Enum value) { names_of(value); }
std::string to_string(Enum value) { return names_of(value).at(static_cast<std::size_t>(value)); }

struct RunConfig {
  std::string name{"run"};
  std::uint32_t seed{1};
  std::int64_t iterations{1000};
  std::string directory{"runs"};
  DeviceKind device{DeviceKind::automatic};
  Precision precision{Precision::automatic};
  bool reproducible{false};
  std::optional<std::string> until;  ///< a local time or a duration: see config/time_limit.hpp
  std::optional<int> threads;        ///< none: this rank's share of the node's cores

  bool operator==(const RunConfig&) const = default;
};

struct EnergyConfig {
  EnergyType type{EnergyType::convnet};
  std::string path;
  std::int64_t channels{16};
  std::int64_t levels{3};
  Downsampling downsampling{Downsampling::strides};
  Activation activation{Activation::silu};
  double slope{0.2};
  bool spectral_normalization{false};
  std::int64_t blocks{1};
  std::vector<std::int64_t> hidden{128, 128};

  bool operator==(const EnergyConfig&) const = default;
};

struct DataConfig {
  DataType type{DataType::file};
  std::string path;
  std::string split{"train"};
  std::optional<std::int64_t> size;  ///< none: as the file has them
  std::int64_t batch{128};
  double noise{0.03};
  bool flip{false};
  std::array<double, 2> range{-1.0, 1.0};
  std::int64_t samples{65536};

  bool operator==(const DataConfig&) const = default;
};

/// A probability, constant or changing linearly over the run.
struct RestartSchedule {
  RestartSchedule(double constant = 0.05) : from(constant), to(constant) {}  // NOLINT: a number
  RestartSchedule(double first, double last) : from(first), to(last) {}

  /// `iteration` counts the finished weight updates: 0 gives `from`, `iterations` and later `to`.
  double at(std::int64_t iteration, std::int64_t iterations) const;

  bool operator==(const RestartSchedule&) const = default;

  double from;
  double to;
};

/// Where chains start: by one law, or by several with their shares.
struct StartMixture {
  StartMixture(StartType only = StartType::uniform) : shares{{only, 1.0}} {}  // NOLINT: a law
  explicit StartMixture(std::map<StartType, double> by_law) : shares(std::move(by_law)) {}

  bool has(StartType law) const { return shares.contains(law); }
  /// Whether its laws are made of a data set.
  bool from_data() const { return has(StartType::data) || has(StartType::data_gaussian); }
  /// The law of a chain whose uniform random number in [0, 1) is `at`.
  StartType pick(double at) const;

  bool operator==(const StartMixture&) const = default;

  std::map<StartType, double> shares;  ///< above 0, 1 in all
};

/// "uniform", or "{uniform: 0.5, data_gaussian: 0.5}".
std::string to_string(const StartMixture& start);

struct ChainsConfig {
  std::int64_t total{2048};
  std::int64_t active{128};
  std::int64_t shards{8};
  StartMixture start;
  std::optional<std::int64_t> principal_components;
  RestartSchedule restart_probability;
  std::int64_t burn_in{0};
  std::optional<std::int64_t> maximum_age;

  bool operator==(const ChainsConfig&) const = default;
};

/// Exactly one of the two is set.
struct Threshold {
  std::optional<double> value;  ///< th itself, in units of |∇E|
  std::optional<double>
      quantile;  ///< q in (0, 1]: th is each chain's order statistic ⌈q·d⌉ of |∇E|

  bool operator==(const Threshold&) const = default;
};

/// Of Hamiltonian Monte Carlo.
struct Trajectory {
  std::int64_t steps{10};  ///< leapfrog steps of √α each
  double jitter{0.2};      ///< each trajectory's step is √α·(1 ± jitter), at random
  double refreshment{1.0};  ///< share of new momentum at its start: 1 − ρ² with p ← ρp + √(1 − ρ²)ξ

  bool operator==(const Trajectory&) const = default;
};

struct SamplerConfig {
  TransitionType type{TransitionType::stanley};
  std::int64_t steps{20};
  double step_size{20.0};
  std::optional<double> noise{0.005};  ///< σ; exactly one of noise and temperature is set
  std::optional<double> temperature;   ///< T
  Threshold threshold{std::nullopt, 0.8};
  Refresh refresh{Refresh::step};
  std::optional<std::array<double, 2>> box{{-1.0, 1.0}};
  bool metropolis{false};
  bool drift_correction{false};
  Trajectory trajectory;
  std::int64_t write_every{100};

  /// σ and T of σ² = step_size·T, whichever of the two the configuration gives. Transitions
  /// without noise (gradient_descent) leave σ out.
  double sigma() const;
  double temperature_value() const;

  bool operator==(const SamplerConfig&) const = default;
};

struct ObjectiveConfig {
  ObjectiveType type{ObjectiveType::contrastive};
  double energy_penalty{0.01};
  double denoising{0.0};
  double denoising_noise{0.3};

  bool operator==(const ObjectiveConfig&) const = default;
};

/// How the learning rate changes.
struct Schedule {
  ScheduleType type{ScheduleType::constant};
  std::int64_t warmup{0};
  double decay{0.999};
  double final_factor{0.0};  ///< key `final`
  std::optional<std::int64_t> end;

  /// The factor on optimizer.learning_rate for the weight update that follows `iteration` finished
  /// updates, of `iterations` in the whole run (the end of the schedule unless it names its own).
  /// With t = iteration, w = warmup, e = end, and a linear rise (t + 1)/w while t < w in the
  /// schedules that have a warm-up:
  ///   constant       1
  ///   linear_warmup  1 after the rise
  ///   exponential    decay^t
  ///   cosine         final + (1 − final)·(1 + cos(π·(t − w)/(e − w)))/2, then `final` from e on
  double factor(std::int64_t iteration, std::int64_t iterations) const;

  bool operator==(const Schedule&) const = default;
};

struct OptimizerConfig {
  OptimizerType type{OptimizerType::adam};
  double learning_rate{3e-4};
  std::array<double, 2> betas{0.0, 0.999};
  double epsilon{1e-8};
  double momentum{0.0};
  std::optional<double> gradient_clip;
  Schedule schedule;
  double average{0.99};

  bool operator==(const OptimizerConfig&) const = default;
};

struct LogConfig {
  std::int64_t every{25};

  bool operator==(const LogConfig&) const = default;
};

/// How the noise of the sampler is taken off draws: not at all, or by exactly one of the two.
struct Denoise {
  std::optional<std::int64_t> steps;  ///< noise-free ones
  bool fitted{false};                 ///< by one step along the gradient

  bool asked() const { return steps || fitted; }
  bool operator==(const Denoise&) const = default;
};

struct SamplesConfig {
  std::optional<std::int64_t> every{500};
  std::optional<std::int64_t> chains{64};  ///< none: all chains
  Denoise denoise;

  bool operator==(const SamplesConfig&) const = default;
};

/// A run of `stanley sample --run-directory`; units are chain steps and draws of each chain.
struct SamplingConfig {
  std::int64_t warm_up{0};
  std::int64_t draws{100};
  std::int64_t thin{10};
  std::int64_t chains_per_start{1};
  std::optional<double> acceptance;  ///< the rate that the warm-up adapts α to
  bool unadjusted{false};
  std::string states;                          ///< a file that chains start from; empty: none
  std::optional<std::int64_t> draws_per_file;  ///< none: as many as 256 MB hold

  /// Chain steps in all.
  std::int64_t steps() const { return warm_up + draws * thin; }

  bool operator==(const SamplingConfig&) const = default;
};

struct CheckpointConfig {
  std::optional<std::int64_t> every{500};
  std::optional<double> seconds{600.0};
  std::int64_t keep_last{3};
  std::optional<std::int64_t> keep_every;
  std::map<std::string, std::string> hints;  ///< MPI-IO hints, handed on as they are

  bool operator==(const CheckpointConfig&) const = default;
};

struct GuardConfig {
  bool enabled{true};
  std::int64_t attempts{3};
  std::int64_t warmup{50};
  std::int64_t patience{3};
  double deviations{15};
  std::int64_t probation{50};

  bool operator==(const GuardConfig&) const = default;
};

struct WatchdogConfig {
  double seconds{300.0};

  bool operator==(const WatchdogConfig&) const = default;
};

/// What `tools/setup.sh --evaluate` makes.
inline constexpr const char* public_features = ".data/features/efficientnet-lite0.pt";

struct EvaluationConfig {
  std::optional<std::int64_t> every;
  std::optional<std::int64_t> chains;  ///< none: 256, or all where they are fewer
  std::string features{public_features};

  /// Chains whose states are compared, of `total`.
  std::int64_t sample(std::int64_t total) const {
    constexpr std::int64_t few = 256;  // cost little beside a training
    return chains.value_or(std::min(few, total));
  }

  bool operator==(const EvaluationConfig&) const = default;
};

/// A part of a run that trains images of one size; what is not set is as everywhere.
struct StageConfig {
  std::int64_t size{0};  ///< side of the images
  std::optional<std::int64_t> iterations, steps, active, batch;
  std::optional<double> learning_rate;

  bool operator==(const StageConfig&) const = default;
};

struct Config {
  RunConfig run;
  EnergyConfig energy;
  DataConfig data;
  ChainsConfig chains;
  SamplerConfig sampler;
  ObjectiveConfig objective;
  OptimizerConfig optimizer;
  LogConfig log;
  SamplesConfig samples;
  SamplingConfig sampling;
  CheckpointConfig checkpoint;
  GuardConfig guard;
  WatchdogConfig watchdog;
  EvaluationConfig evaluation;
  std::vector<StageConfig> stages;  ///< see config/stages.hpp

  /// Whether the log has a line of this iteration.
  bool line_due(std::int64_t iteration) const;

  bool operator==(const Config&) const = default;
};

/// Reads the file `path` and what it inherits, applies the overrides ("key.path=value", the value
/// is YAML; a mapping is merged into the one that stands there) and checks the result. A file
/// inherits by `base: FILE`, relative to itself: its own keys replace those of that file, which may
/// have a base too. Throws one Error(ExitCode::configuration) that lists every mistake in all
/// files, a line for each, in file order: "file:line:column: key.path: what was expected, what was
/// found".
Config load_config(const std::string& path, const std::vector<std::string>& overrides);

/// The same for a text; `name` stands for the file in messages.
Config parse_config(const std::string& text, const std::string& name,
                    const std::vector<std::string>& overrides);

/// A configuration that a file of an earlier run holds, as a release of another minor version may
/// have written it: keys that this one doesn't know are left out, those that the text lacks have
/// their defaults. The overrides are read as strictly as always.
struct StoredConfig {
  Config config;
  std::vector<std::string> unknown;  ///< paths of the keys that were left out
};
StoredConfig parse_stored_config(const std::string& text, const std::string& name,
                                 const std::vector<std::string>& overrides);

/// What only training refuses: chains.start: bank. Throws Error(ExitCode::configuration).
void check_for_training(const Config& config);

/// What only a run of `stanley sample` refuses: a moment that adapts to the chains and is not
/// frozen before the first draw. Throws Error(ExitCode::configuration).
void check_for_sampling(const Config& config);

/// Every key with its value, in a fixed order; parse_config(to_yaml(c)) == c, bit for bit.
std::string to_yaml(const Config& config);

/// Every key's path and its value as the file writes it, in the order of to_yaml().
std::vector<std::pair<std::string, std::string>> key_values(const Config& config);

/// The value of one key as key_values() has it, but text without quotes. Throws
/// Error(ExitCode::configuration) with the nearest key if there is none of this path.
std::string plain_value(const Config& config, const std::string& path);

/// A JSON Schema (draft-07) of configuration files, for editors.
std::string configuration_schema();

/// A Markdown table of all keys: key, default, meaning with unit and range. In configs/README.md.
std::string configuration_reference();

}  // namespace stanley
