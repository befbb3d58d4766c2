#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "run/recorded.hpp"

namespace stanley {

/// Who owns a run's directory, seen from this host.
struct OwnerStatus {
  std::string host{}, job{};
  std::int64_t process{0};
  double seconds_since_heartbeat{0};  ///< by the clock of this host
  std::optional<bool> alive{};        ///< none: its file can't be read
};

/// A checkpoint; its arrays were not read.
struct CheckpointStatus {
  std::string path{};
  std::optional<std::int64_t> iteration{};
  std::int64_t bytes{0};
  double seconds_old{0};
  std::vector<std::string> problems{};  ///< none: seal and header are sound
};

/// The newest entry of evaluation.json, over chains of all ages.
struct EvaluationStatus {
  std::string time{}, path{}, protocol{};
  std::optional<double> seconds_old{};
  std::optional<std::int64_t> iteration{}, states{};
  std::optional<double> kid{}, kid_low{}, kid_high{}, fid{};
};

/// A number of the training's own evaluation, and the last row of metrics.csv that has one.
struct TrainingKid {
  std::int64_t iteration{0};
  double value{0};
};

/// Where a run stands: what its small files and the end of its metrics say.
struct RunStatus {
  static constexpr double undefined = std::numeric_limits<double>::quiet_NaN();

  std::string path{}, name{};
  std::string kind{};  ///< "sampling", whose iterations are chain steps; empty: a training
  bool is_run{false};  ///< else nothing below is known but `remarks`
  /// "running", "starting", "cut off" if it should run and nobody does, else the verdict of its
  /// last stop: "finished", "requeue", "diverged", ...; empty: it can't be told.
  std::string state{};
  std::string stage{};  ///< "stage 2 of 3: images of 16×16"; empty for a run without stages
  std::optional<std::int64_t> iteration{}, iterations{};  ///< done, and asked for
  /// Over the last rows of this start together, files and evaluations included.
  std::optional<double> seconds_per_iteration{}, chain_steps_per_second{};
  std::optional<double> seconds_left{};       ///< at this pace; none for a finished run
  std::optional<double> seconds_since_row{};  ///< since metrics.csv was written
  /// Of the last row; NaN where it has none.
  double energy_data{undefined}, energy_chains{undefined}, energy_noise{undefined}, gap{undefined};
  std::int64_t rows_read{0}, rows_not_finite{0};  ///< of energies and the weights' gradient
  std::optional<RunEvent> last_start{}, last_stop{};
  std::vector<RunEvent> roll_backs{};
  std::optional<OwnerStatus> owner{};
  std::optional<CheckpointStatus> newest{}, best{};
  std::optional<EvaluationStatus> evaluation{};
  std::optional<TrainingKid> kid_train{}, kid_test{};
  std::vector<std::string> remarks{};  ///< what a person should look at, each a sentence
};

/// One rank, without MPI. Reads headers alone, so that it takes no longer for a large run, and
/// writes nothing, beside a living run too. What is missing or broken is told and not thrown.
RunStatus read_status(const std::string& path);

/// "40 s", "12 min", "3 h 05 min", "2 d 4 h".
std::string time_in_words(double seconds);

}  // namespace stanley
