#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace stanley {

/// The last rows of a metrics.csv.
struct MetricsEnd {
  std::vector<std::string> names{};  ///< of the columns
  /// Those that name an iteration, oldest first; NaN where a row has no number.
  std::vector<std::vector<double>> rows{};

  /// The place of a column; none if the file has none of that name.
  std::optional<std::size_t> place(const std::string& name) const;
  /// A number of a row; NaN where the file has no such column.
  double value(const std::vector<double>& row, const std::string& name) const;
  /// Of the last row; NaN where there is none.
  double last(const std::string& name) const;
  /// Of the last row.
  std::optional<std::int64_t> iteration() const;
};

/// The heading and the whole rows in the last so many bytes of a file to which a living run may be
/// writing: what was cut off is left out, and so is all where there is no file. One rank.
MetricsEnd read_metrics_end(const std::string& path, std::size_t most = std::size_t{64} << 10);

}  // namespace stanley
