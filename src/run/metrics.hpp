#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "storage/descriptor.hpp"

namespace stanley {

/// All that is recorded of one iteration; the columns of metrics.csv, in this order. Means are over
/// all ranks; NaN stands for "not defined". Energies and gradients are in the network's units,
/// distances and scales in those of the data. The nine before `more` depend on clocks.
struct IterationRecord {
  static constexpr double undefined = std::numeric_limits<double>::quiet_NaN();

  std::int64_t iteration = 0;      ///< finished weight updates
  double energy_data = 0;          ///< mean E of the data batch
  double energy_chains = 0;        ///< mean E of the moved chains
  double energy_noise = 0;         ///< mean E of plain noise (the start distribution's range)
  double gap = 0;                  ///< energy_chains − energy_data
  double gap_autocorrelation = 0;  ///< lag 1, over about the last 50 iterations
  double loss = 0;
  double gradient_norm = 0;  ///< of the weights, before clipping
  double parameter_norm = 0;
  double learning_rate = 0;
  double restart_probability = 0;
  double restarts = 0;        ///< chains that started anew
  double chain_age_mean = 0;  ///< of the active chains, in chain steps
  double chain_age_max = 0;
  double counted_share = 1;               ///< of the active chains, those past their burn-in
  double state_gradient_q10 = undefined;  ///< |∇E| at the chains' states before they move
  double state_gradient_q50 = undefined;
  double state_gradient_q90 = undefined;
  double gain_q10 = undefined;  ///< γ there
  double gain_q50 = undefined;
  double gain_q90 = undefined;
  double gain_below_one = undefined;       ///< share of γ < 1
  double gain_weighted_drift = undefined;  ///< ‖γ∘∇E‖₁ / ‖∇E‖₁
  double distance_moved = 0;               ///< mean Euclidean distance of a chain's K steps
  double chain_scale = 0;   ///< standard deviation over all elements of all active chains
  double chain_spread = 0;  ///< standard deviation over the chains, rms over elements
  double saturation = 0;    ///< share of elements on the box's faces
  double acceptance_rate = undefined;
  double temperature_settled = undefined;  ///< T of the kernel that runs, and its standard error
  double temperature_settled_error = undefined;
  double temperature_law = undefined;  ///< T under exp(−E/T), and its standard error
  double temperature_law_error = undefined;
  double step_length = undefined;  ///< of a visit's first chain step, rms over elements
  double data_score = undefined;   ///< rms(∇E)/T at noised data, each log.every iterations
  double noise_left = undefined;   ///< share of data's squared noise that a step along ∇E leaves
  double kid_train = undefined;    ///< of some chains to training images, where they were compared
  double kid_test = undefined;     ///< to test images
  double seconds_chains = 0;
  double seconds_gradient = 0;
  double seconds_reduction = 0;  ///< from when the slowest rank came
  double seconds_waiting = 0;    ///< in the reduction, for the slowest rank to come
  double seconds_guard = 0;      ///< within the reduction, for what only the guard looks at
  double seconds_files = 0;      ///< since the last row
  double seconds_evaluation = 0;
  double seconds_iteration = 0;
  double chain_steps_per_second = 0;
  /// Columns of its own that a transition tells, behind the others.
  std::vector<std::pair<std::string, double>> more{};

  /// What it took in all, with what stands beside the iteration.
  double seconds() const { return seconds_iteration + seconds_files + seconds_evaluation; }

  /// The column of this name, but for the first: one of `more`, new where it is not there.
  double& column(const std::string& name);
};

/// Those of the names that IterationRecord has no member for.
std::vector<std::string> more_columns(const std::vector<std::string>& names);

/// One line of CSV, and its heading with `more` columns. Numbers are written so that they read back
/// bit for bit.
std::string metrics_heading(const std::vector<std::string>& more = {});
std::string to_csv(const IterationRecord& record);

/// metrics.csv: one row for each iteration, none lost or doubled. Used by one rank.
class MetricsFile {
 public:
  /// Opens the file and drops all rows after `iteration`: they are of a run that was cut off and
  /// are computed again. What is kept is on the disk when the call returns. `more`: names of the
  /// records' further columns. Others that the file has stay. Errors: input_output, also
  /// for a file that is none of these.
  MetricsFile(const std::string& path, std::int64_t iteration,
              const std::vector<std::string>& more = {});

  /// The last iteration that the file had a row of when it was opened, of those kept; 0: none. Less
  /// than `iteration` where rows were lost.
  std::int64_t last_kept() const { return last_kept_; }

  void append(const IterationRecord& record);

  /// Brings all rows to the disk: before a checkpoint is named complete.
  void sync();

 private:
  std::string path_;
  std::int64_t last_kept_ = 0;
  std::string filling_;  // of the columns behind the records' own
  std::optional<Descriptor> file_;
};

}  // namespace stanley
