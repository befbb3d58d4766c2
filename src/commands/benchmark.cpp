#include "measure/benchmark.hpp"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>

#include "commands/benchmark_model.hpp"
#include "commands/command.hpp"
#include "config/stages.hpp"
#include "data/dataset.hpp"
#include "parallel/agree.hpp"
#include "run/stop.hpp"
#include "storage/json_values.hpp"

namespace stanley {
namespace {

/// A model of waiting wants to know how much iterations vary.
constexpr std::int64_t fewest_iterations_for_model = 10;

struct BenchmarkOptions {
  ConfigArguments config;
  double seconds = 8;
  std::int64_t iterations = 0, warmup = 3;
  std::string directory;
  bool weak = false;
  bool json = false;
  ModelOptions model;
};

struct Findings {
  std::int64_t nodes = 1;
  BenchmarkResult parts;
  std::optional<TrainingMeasure> training;
  std::optional<ScalingInputs> model;

  /// What the model says of the reduction that was measured.
  double modelled_reduction() const {
    return reduction_cost(*model, parts.ranks, model->parts_per_rank * parts.ranks).seconds();
  }
};

nlohmann::ordered_json operations_json(const BenchmarkResult& r) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const OperationShare& one : r.operations) {
    list.push_back(
        {{"name", one.name}, {"milliseconds", one.milliseconds}, {"gflops", one.gflops}});
  }
  return {{"milliseconds", r.operations_milliseconds},
          {"operations", list},
          {"peak_gflops", r.peak_gflops},
          {"copy_gbytes_per_second", r.copy_gbytes}};
}

nlohmann::ordered_json as_json(const BenchmarkResult& r, std::int64_t nodes) {
  return {{"ranks", r.ranks},
          {"nodes", nodes},
          {"threads", r.threads},
          {"device", r.device},
          {"precision", r.precision},
          {"engine", r.engine},
          {"reducer", r.reducer},
          {"chain_steps_per_second", r.chain_steps_per_second},
          {"chain_steps_per_second_per_rank", r.chain_steps_per_second_per_rank},
          {"milliseconds_per_step", r.milliseconds_per_step},
          {"gflops", r.gflops},
          {"iteration_seconds", r.iteration_seconds},
          {"split",
           {{"update_of_step", r.update_share},
            {"chains", r.chains_share},
            {"gradient", r.gradient_share},
            {"reduction", r.reduction_share}}},
          {"reduction_bytes", r.reduction_bytes},
          {"reduction_seconds", r.reduction_seconds},
          {"by_operation", operations_json(r)},
          {"gpu_memory_bytes", r.peak_memory}};
}

nlohmann::ordered_json as_json(const TrainingMeasure& t) {
  return {{"warmup", t.warmup},
          {"iterations", t.iterations},
          {"iteration_seconds", t.seconds},
          {"chains", t.chains},
          {"gradient", t.gradient},
          {"reduction", t.reduction},
          {"waiting", t.waiting},
          {"files", t.files},
          {"jitter", t.jitter},
          {"chain_steps_per_second", t.chain_steps_per_second},
          {"memory_bytes", t.memory},
          {"joules", t.joules},
          {"checkpoint_bytes", t.checkpoint_bytes},
          {"checkpoint_seconds", t.checkpoint_seconds}};
}

std::string as_json(const Findings& found, const BenchmarkOptions& options) {
  nlohmann::ordered_json json = as_json(found.parts, found.nodes);
  if (found.training) json["training"] = as_json(*found.training);
  if (found.model) {
    json["model"] = model_json(*found.model, options.model.ranks);
    json["model"]["reduction_seconds"] = found.modelled_reduction();
  }
  return json.dump();
}

std::string as_text(const BenchmarkResult& r) {
  return fmt::format(
      "{} rank(s), {} thread(s) each, {}, {}\n"
      "chain steps/s        {:.0f} in all, {:.0f} per rank\n"
      "one chain step       {:.3f} ms for a rank's active chains, {:.1f} % gain, noise and update\n"
      "{}"
      "one iteration        {:.3f} s: chains {:.1f} %, weight gradient {:.1f} %, reduction {:.1f} "
      "%",
      r.ranks, r.threads, r.device, r.engine, r.chain_steps_per_second,
      r.chain_steps_per_second_per_rank, r.milliseconds_per_step, 100 * r.update_share,
      r.gflops ? fmt::format("gradient             {:.1f} GFLOP/s per rank\n", *r.gflops) : "",
      r.iteration_seconds, 100 * r.chains_share, 100 * r.gradient_share, 100 * r.reduction_share);
}

std::string operations_text(const BenchmarkResult& r) {
  if (r.operations.empty()) return "";
  std::string text = fmt::format(
      "\none chain step on {}, {:.3f} ms; a large matrix product reaches {:.0f} GFLOP/s, a copy "
      "{:.1f} GB/s",
      r.peak_memory ? "the GPU" : "one thread", r.operations_milliseconds, r.peak_gflops,
      r.copy_gbytes);
  for (const OperationShare& one : r.operations) {
    text += fmt::format("\n  {:<26}{:>9.3f} ms {:>5.1f} %", one.name, one.milliseconds,
                        100 * one.milliseconds / r.operations_milliseconds);
    if (one.gflops > 0) {
      text += fmt::format("  {:>4.0f} GFLOP/s, {:.0f} % of peak", one.gflops,
                          100 * one.gflops / r.peak_gflops);
    }
  }
  return text;
}

std::string as_text(const TrainingMeasure& t) {
  const auto share = [&](double seconds) { return 100 * seconds / t.seconds; };
  const std::string joules = t.joules ? fmt::format(", {:.1f} J", *t.joules) : "";
  return fmt::format(
      "\n{} of training  {:.4f} s each: chains {:.1f} %, weight gradient {:.1f} %, reduction "
      "{:.1f} "
      "%, waiting {:.1f} %, files {:.1f} %\n"
      "memory               {:.0f} MB{}",
      t.iterations == 1 ? "1 iteration" : fmt::format("{} iterations", t.iterations), t.seconds,
      share(t.chains), share(t.gradient), share(t.reduction), share(t.waiting), share(t.files),
      t.memory / 1e6, joules);
}

std::string as_text(const Findings& found, const BenchmarkOptions& options) {
  std::string text = as_text(found.parts) + operations_text(found.parts);
  if (found.training) text += as_text(*found.training);
  if (!found.model) return text;
  if (found.parts.ranks > 1) {
    text += fmt::format("\nreduction            {:.2f} ms for {:.3g} MB; the model says {:.2f} ms",
                        1e3 * found.parts.reduction_seconds, found.parts.reduction_bytes / 1e6,
                        1e3 * found.modelled_reduction());
  }
  return text + "\n\n" + model_text(*found.model, options.model.ranks);
}

/// Collective.
Findings measure(const BenchmarkOptions& options, const Config& config, Session& session) {
  const bool modelled = !options.model.ranks.empty();
  const Dataset dataset = Dataset::load(config.data, config.run.seed, session.world());
  Findings found;
  found.nodes = session.local_rank() == 0 ? 1 : 0;
  session.world().sum(std::span<std::int64_t>(&found.nodes, 1));
  found.parts = run_benchmark(config, dataset.shape(), options.seconds, session);
  const std::int64_t iterations =
      modelled ? std::max(options.iterations, fewest_iterations_for_model) : options.iterations;
  if (iterations > 0) {
    found.training = measure_training(
        config, dataset, options.warmup, iterations,
        options.directory.empty() ? config.run.directory : options.directory, session);
  }
  if (modelled) {
    found.model = scaling_inputs(options.model, config, found.parts, *found.training,
                                 measure_work(config, dataset.shape(), options.seconds, session),
                                 dataset.dimension(), session.size());
  }
  return found;
}

/// Everything that ranks share out, times their number.
void multiply_work(Config& config, std::int64_t ranks) {
  config.chains.total *= ranks;
  config.chains.active *= ranks;
  config.chains.shards *= ranks;
  config.data.batch *= ranks;
}

ExitCode benchmark(const BenchmarkOptions& options, Session& session) {
  Config config = load_config_on_all(options.config, session.world());
  config = last_stage(config);  // where nearly all of a run's time goes
  if (options.weak) multiply_work(config, session.size());
  const Findings found = measure(options, config, session);
  on_first_rank(session.world(),
                [&] { print(options.json ? as_json(found, options) : as_text(found, options)); });
  return ExitCode::finished;
}

}  // namespace

void add_benchmark_command(CLI::App& app, Command& chosen) {
  CLI::App* command = app.add_subcommand(
      "benchmark",
      "Measure chain steps, weight gradient and reduction of a configuration, and predict more "
      "ranks");
  auto options = std::make_shared<BenchmarkOptions>();
  add_config_arguments(*command, options->config)->required();
  command->add_option("--seconds", options->seconds, "How long to measure the parts, about")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command
      ->add_option("--iterations", options->iterations,
                   "Measure so many iterations of a training, and a checkpoint")
      ->check(CLI::Range(0, 1'000'000))
      ->capture_default_str();
  command->add_option("--warmup", options->warmup, "Iterations before these")
      ->check(CLI::Range(0, 1'000'000))
      ->capture_default_str();
  command->add_option(
      "--directory", options->directory,
      "Folder for that checkpoint, which is removed again (default: run.directory)");
  command->add_flag("--weak", options->weak,
                    "Weak scaling: chains.total, chains.active, chains.shards and data.batch times "
                    "the ranks");
  command->add_flag("--json", options->json, "One JSON object instead of text");
  add_model_options(*command, options->model);
  command->callback([options, &chosen] {
    chosen = [options](Session& session, Log&) {
      release_signals();
      return benchmark(*options, session);
    };
  });
}

}  // namespace stanley
