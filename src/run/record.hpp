#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "config/error.hpp"

namespace stanley {

/// What is written down about one start of a run.
struct StartRecord {
  std::int64_t iteration = 0;
  int ranks = 1;
  std::vector<std::string> hosts, devices;
  std::string processor, instruction_set, precision, reduction, engine, resumed_from;
  std::vector<std::pair<std::string, std::string>> libraries;  ///< name, version
  int threads = 1;
};

/// One roll-back: the run goes on from `target` as attempt `attempt`.
struct RollBack {
  std::int64_t attempt = 0;
  std::int64_t iteration = 0;  ///< where the divergence was seen
  std::int64_t target = 0;
  std::string seen;
};

/// The network that a run trains now.
struct NetworkRecord {
  std::int64_t parameters = 0;
  std::vector<std::int64_t> state_shape{};
  std::string stage{};  ///< "stage 2 of 3: images of 16×16"; empty for a run without stages
};

/// How one start of a run ended.
struct StopRecord {
  std::int64_t iteration = 0;
  ExitCode code = ExitCode::finished;
  std::string message;   ///< empty where nothing went wrong
  std::string host;      ///< of the rank that failed, where one did
  std::string asked_by;  ///< with requeue: "signal", "run.until" or "Slurm's end of the job"
};

/// run.json: versions, and every start, stop and verdict of a run. Job scripts read the verdict
/// there first, since launchers can lose an exit code. Used by rank 0, from any thread; every
/// change is on the disk when the call returns.
class RunRecord {
 public:
  /// Goes on with the file if it is there; one that is broken is renamed to PATH.broken, and a new
  /// one begun. Errors: input_output.
  explicit RunRecord(std::string path);
  bool was_broken() const { return was_broken_; }
  ~RunRecord();

  /// The run, and the network that it trains now; is on the disk with the next change. `kind`: what
  /// the run does, where that is no training.
  void describe(const std::string& name, std::int64_t iterations, const NetworkRecord& network,
                const std::string& kind = "");
  /// Another network: that of the next stage, or of the one that it goes back to.
  void change_to(const NetworkRecord& network);
  void start(const StartRecord& start);
  /// Seconds of this start that each rank waited in the reduction, and of all its iterations; is on
  /// the disk with the next change.
  void waited(const std::vector<double>& by_rank, double seconds);
  /// How far a run without metrics.csv has come, and how fast.
  void progress(std::int64_t iteration, double chain_steps_per_second, double seconds_left);
  /// The first one counts: what fails while a run ends is no verdict.
  void stop(const StopRecord& stop);

  /// Before any file of the run is touched for it: a start that finds it finishes it.
  void roll_back(const RollBack& roll_back);
  /// The checkpoint that the run's first start went on from; empty if it began anew.
  std::string origin() const;
  /// The newest one, if there was any.
  std::optional<RollBack> last_roll_back() const;

 private:
  void put(const NetworkRecord& network);
  void save() const;

  std::string path_;
  mutable std::mutex mutex_;  // of what stands below
  bool was_broken_ = false, stopped_ = false;
  std::unique_ptr<nlohmann::ordered_json> json_;
};

/// "finished", "requeue", "diverged", ...: the verdict's word for an exit code.
std::string verdict(ExitCode code);

/// "2026-11-23T14:05:09Z".
std::string utc_now();

}  // namespace stanley
