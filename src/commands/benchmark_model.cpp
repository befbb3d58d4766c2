#include "commands/benchmark_model.hpp"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <nlohmann/json.hpp>

namespace stanley {
namespace {

struct Predictions {
  Predictions(const ScalingInputs& inputs, const std::vector<std::int64_t>& ranks) {
    for (const std::int64_t count : ranks) {
      weak.push_back(predict_weak(inputs, count));
      if (count <= inputs.finest_shards) strong.push_back(predict_strong(inputs, count));
    }
  }
  std::vector<IterationPrediction> weak, strong;
};

std::string table(const std::vector<IterationPrediction>& predictions) {
  std::string text =
      "  ranks  chains/rank  iteration ms  efficiency   chains   weight  latency  bandwidth  "
      "waiting    files  bound by\n";
  for (const IterationPrediction& p : predictions) {
    text += fmt::format(
        "{:>7}  {:>11}  {:>12.2f}  {:>10.3f}  {:>7.2f}  {:>7.2f}  {:>7.2f}  {:>9.2f}  {:>7.2f}  "
        "{:>7.2f}  {}\n",
        p.ranks, p.chains, 1e3 * p.seconds(), p.efficiency, 1e3 * p.chain_seconds,
        1e3 * p.weight_seconds, 1e3 * p.latency_seconds, 1e3 * p.bandwidth_seconds,
        1e3 * p.waiting_seconds, 1e3 * p.file_seconds, p.bound());
  }
  return text;
}

std::string strong_end(const ScalingInputs& inputs, const std::vector<std::int64_t>& ranks) {
  const StrongLimit limit = find_strong_limit(inputs);
  std::string text = fmt::format(
      "strong scaling of {} active chains ends at {} ranks, where an iteration is shortest "
      "({:.2f} ms); up to {} ranks its efficiency is at least 0.5",
      inputs.active_chains, limit.fastest, 1e3 * predict_strong(inputs, limit.fastest).seconds(),
      limit.efficient);
  if (std::ranges::max(ranks) > inputs.finest_shards) {
    text += fmt::format(
        "; more than {} ranks find no shard each (raise chains.total, "
        "chains.active and data.batch together)",
        inputs.finest_shards);
  }
  return text;
}

const char* name_of(NetworkModel::Library library) {
  return library == NetworkModel::Library::nccl ? "NCCL" : "Open MPI";
}

nlohmann::ordered_json as_json(const std::vector<IterationPrediction>& predictions) {
  auto list = nlohmann::ordered_json::array();
  for (const IterationPrediction& p : predictions) {
    list.push_back({{"ranks", p.ranks},
                    {"chains_per_rank", p.chains},
                    {"iteration_seconds", p.seconds()},
                    {"efficiency", p.efficiency},
                    {"chains", p.chain_seconds},
                    {"gradient", p.weight_seconds},
                    {"latency", p.latency_seconds},
                    {"bandwidth", p.bandwidth_seconds},
                    {"waiting", p.waiting_seconds},
                    {"files", p.file_seconds},
                    {"bound", p.bound()}});
  }
  return list;
}

}  // namespace

void add_model_options(CLI::App& command, ModelOptions& options) {
  const auto add = [&](const std::string& name, auto& value, const char* text) {
    return command.add_option(name, value, text)->capture_default_str()->group("Model");
  };
  add("--model-ranks", options.ranks, "Predict an iteration on so many ranks: 8,64,512")
      ->delimiter(',')
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 24));
  add("--library", options.library, "openmpi or nccl (default: what reduces here)")
      ->check(CLI::IsMember({"openmpi", "nccl"}));
  add("--ranks-per-node", options.ranks_per_node, "Ranks that share a node and its link")
      ->check(CLI::Range(1, 4096));
  add("--node-latency", options.node_latency, "Of a message within a node, us")
      ->check(CLI::NonNegativeNumber);
  add("--node-bandwidth", options.node_bandwidth, "Between two ranks of a node, GB/s")
      ->check(CLI::PositiveNumber);
  add("--network-latency", options.network_latency, "Of a message between nodes, us")
      ->check(CLI::NonNegativeNumber);
  add("--network-bandwidth", options.network_bandwidth, "Of a node's link, each way, GB/s")
      ->check(CLI::PositiveNumber);
  add("--eager-kilobytes", options.eager_kilobytes,
      "MPI's longer messages cost a round trip more, KiB")
      ->check(CLI::NonNegativeNumber);
  add("--file-bandwidth", options.file_bandwidth, "Of the file system, all ranks together, GB/s")
      ->check(CLI::PositiveNumber);
  add("--jitter", options.jitter,
      "Deviation of a rank's time, per cent of it (default: as measured)")
      ->check(CLI::NonNegativeNumber);
}

ScalingInputs scaling_inputs(const ModelOptions& options, const Config& config,
                             const BenchmarkResult& parts, const TrainingMeasure& training,
                             std::vector<WorkPoint> work, std::int64_t dimension, int ranks) {
  constexpr double micro = 1e-6, giga = 1e9;
  ScalingInputs inputs;
  inputs.work = std::move(work);
  inputs.active_chains = config.chains.active;
  inputs.finest_shards = finest_shards(config);
  inputs.chains_per_rank = config.chains.active / ranks;
  inputs.message_bytes = parts.reduction_bytes;
  inputs.ordered = config.run.reproducible;
  inputs.parts_per_rank = (config.chains.shards + ranks - 1) / ranks;
  inputs.dimension = dimension;
  inputs.jitter = options.jitter ? *options.jitter / 100 : training.jitter;
  inputs.checkpoint_fixed_bytes = training.checkpoint_fixed_bytes;
  inputs.checkpoint_bytes_per_chain =
      (training.checkpoint_bytes - training.checkpoint_fixed_bytes) /
      static_cast<double>(config.chains.active);
  if (training.checkpoint_bytes > 0) {
    inputs.copy_seconds_per_byte =
        training.copy_seconds * static_cast<double>(ranks) / training.checkpoint_bytes;
  }
  inputs.checkpoint_every = training.checkpoint_every;
  inputs.checkpoint_seconds = training.checkpoint_seconds;
  const bool nccl = options.library
                        ? *options.library == "nccl"
                        : parts.device.starts_with("cuda") && !parts.reducer.starts_with("MPI");
  inputs.network.library = nccl ? NetworkModel::Library::nccl : NetworkModel::Library::open_mpi;
  inputs.network.node = {options.node_latency * micro, options.node_bandwidth * giga};
  inputs.network.network = {options.network_latency * micro, options.network_bandwidth * giga};
  inputs.network.ranks_per_node = options.ranks_per_node;
  inputs.network.eager_bytes = 1024 * options.eager_kilobytes;
  inputs.file_bandwidth = options.file_bandwidth * giga;
  return inputs;
}

std::string model_text(const ScalingInputs& in, const std::vector<std::int64_t>& ranks) {
  const Predictions predictions(in, ranks);
  const std::string sum =
      in.ordered
          ? "summed in shard order"
          : "all-reduced by " + all_reduce_algorithm(in.network, ranks.back(), in.message_bytes) +
                " on " + std::to_string(ranks.back()) + " ranks";
  return fmt::format(
      "model: chain, weight-gradient and copy times as measured here; {:.3g} MB of gradient "
      "{} ({}); {} rank(s) per node;\n"
      "       node {:.3g} us, {:.3g} GB/s; network {:.3g} us, {:.3g} GB/s per node; file "
      "system {:.3g} GB/s; a rank's time varies by {:.1f} %\n\n"
      "weak: chains, shards and batch grow with the ranks (ms)\n{}\n"
      "strong: {} active chains of all ranks (ms)\n{}{}",
      in.message_bytes / 1e6, sum, name_of(in.network.library), in.network.ranks_per_node,
      1e6 * in.network.node.latency, in.network.node.bandwidth / 1e9,
      1e6 * in.network.network.latency, in.network.network.bandwidth / 1e9, in.file_bandwidth / 1e9,
      100 * in.jitter, table(predictions.weak), in.active_chains, table(predictions.strong),
      strong_end(in, ranks));
}

nlohmann::ordered_json model_json(const ScalingInputs& in, const std::vector<std::int64_t>& ranks) {
  const Predictions predictions(in, ranks);
  const StrongLimit limit = find_strong_limit(in);
  return {{"library", name_of(in.network.library)},
          {"ranks_per_node", in.network.ranks_per_node},
          {"node_latency", in.network.node.latency},
          {"node_bandwidth", in.network.node.bandwidth},
          {"network_latency", in.network.network.latency},
          {"network_bandwidth", in.network.network.bandwidth},
          {"file_bandwidth", in.file_bandwidth},
          {"jitter", in.jitter},
          {"message_bytes", in.message_bytes},
          {"weak", as_json(predictions.weak)},
          {"strong", as_json(predictions.strong)},
          {"strong_fastest_ranks", limit.fastest},
          {"strong_efficient_ranks", limit.efficient}};
}

}  // namespace stanley
