#include "train/benchmark.hpp"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "commands/command.hpp"
#include "data/dataset.hpp"

namespace stanley {
namespace {

struct Options {
  std::string config;
  std::vector<std::string> overrides;
  double seconds = 8;
  bool json = false;
};

std::string as_json(const BenchmarkResult& r) {
  const nlohmann::ordered_json json{
      {"ranks", r.ranks},
      {"threads", r.threads},
      {"device", r.device},
      {"precision", r.precision},
      {"engine", r.engine},
      {"chain_steps_per_second", r.chain_steps_per_second},
      {"chain_steps_per_second_per_rank", r.chain_steps_per_second_per_rank},
      {"milliseconds_per_step", r.milliseconds_per_step},
      {"gflops", r.gflops},
      {"iteration_seconds", r.iteration_seconds},
      {"split",
       {{"update_of_step", r.update_share},
        {"chains", r.chains_share},
        {"gradient", r.gradient_share},
        {"reduction", r.reduction_share}}}};
  return json.dump();
}

std::string as_text(const BenchmarkResult& r) {
  return fmt::format(
      "{} rank(s), {} thread(s) each, {}, {}\n"
      "chain steps/s        {:.0f} in all, {:.0f} per rank\n"
      "one chain step       {:.3f} ms for a rank's active chains, {:.1f} % gain, noise and update\n"
      "gradient             {:.1f} GFLOP/s per rank\n"
      "one iteration        {:.3f} s: chains {:.1f} %, weight gradient {:.1f} %, reduction {:.1f} "
      "%",
      r.ranks, r.threads, r.device, r.engine, r.chain_steps_per_second,
      r.chain_steps_per_second_per_rank, r.milliseconds_per_step, 100 * r.update_share, r.gflops,
      r.iteration_seconds, 100 * r.chains_share, 100 * r.gradient_share, 100 * r.reduction_share);
}

ExitCode benchmark(const Options& options, Session& session) {
  const Config config = load_config_on_all(options.config, options.overrides, session.world());
  const Dataset dataset = Dataset::load(config.data, config.run.seed, session.world());
  const BenchmarkResult result = run_benchmark(config, dataset.shape(), options.seconds, session);
  if (session.rank() == 0) {
    std::cout << (options.json ? as_json(result) : as_text(result)) << std::endl;
  }
  return ExitCode::finished;
}

}  // namespace

void add_benchmark_command(CLI::App& app, Command& chosen) {
  CLI::App* command = app.add_subcommand(
      "benchmark", "Measure chain steps, weight gradient and reduction of a configuration");
  auto options = std::make_shared<Options>();
  command->add_option("config", options->config, "Configuration file (YAML)")->required();
  command->add_option("--set", options->overrides, "Override a key: key.path=value")
      ->allow_extra_args(false);
  command->add_option("--seconds", options->seconds, "How long to measure, about")
      ->capture_default_str();
  command->add_flag("--json", options->json, "One JSON object instead of text");
  command->callback([options, &chosen] {
    chosen = [options](Session& session, Log&) { return benchmark(*options, session); };
  });
}

}  // namespace stanley
