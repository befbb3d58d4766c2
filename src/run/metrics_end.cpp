#include "run/metrics_end.hpp"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <limits>

#include "config/document.hpp"

namespace stanley {
namespace {

constexpr double undefined = std::numeric_limits<double>::quiet_NaN();

double number_of(const std::string& text) {
  double number = undefined;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), number);
  return parsed.ec == std::errc() ? number : undefined;
}

bool is_iteration(double number) {
  constexpr double most = 9007199254740992;  // 2⁵³: above it not every whole number is a double
  return number >= 0 && number <= most;
}

/// The last so many bytes, from the beginning of a line to the end of one.
std::string whole_lines_at_end(std::ifstream& file, std::size_t most) {
  file.clear();
  file.seekg(0, std::ios::end);
  const auto size = static_cast<std::size_t>(std::max<std::streamoff>(file.tellg(), 0));
  const std::size_t begin = size > most ? size - most : 0;
  std::string text(size - begin, '\0');
  file.seekg(static_cast<std::streamoff>(begin));
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(std::max<std::streamsize>(file.gcount(), 0)));
  text.resize(text.rfind('\n') + 1);  // npos + 1 is 0
  // The first line is the rest of one, or the heading.
  const std::size_t first_end = text.find('\n');
  return first_end == std::string::npos ? std::string() : text.substr(first_end + 1);
}

}  // namespace

std::optional<std::size_t> MetricsEnd::place(const std::string& name) const {
  const auto found = std::ranges::find(names, name);
  if (found == names.end()) return std::nullopt;
  return static_cast<std::size_t>(found - names.begin());
}

double MetricsEnd::value(const std::vector<double>& row, const std::string& name) const {
  const auto column = place(name);
  return column ? row.at(*column) : undefined;
}

double MetricsEnd::last(const std::string& name) const {
  return rows.empty() ? undefined : value(rows.back(), name);
}

std::optional<std::int64_t> MetricsEnd::iteration() const {
  if (rows.empty()) return std::nullopt;
  return static_cast<std::int64_t>(last("iteration"));
}

MetricsEnd read_metrics_end(const std::string& path, std::size_t most) {
  MetricsEnd end;
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(path, ignored)) return end;  // a pipe would wait
  std::ifstream file(path, std::ios::binary);
  std::string heading;
  if (!std::getline(file, heading) || file.eof()) return end;
  if (heading.ends_with('\r')) heading.pop_back();
  end.names = split(heading, ',');
  const std::string text = whole_lines_at_end(file, most);
  for (std::string& line : split(text, '\n')) {
    const std::vector<std::string> fields = split(line, ',');
    if (fields.size() != end.names.size()) continue;
    std::vector<double> row(fields.size());
    std::ranges::transform(fields, row.begin(), number_of);
    if (is_iteration(end.value(row, "iteration"))) end.rows.push_back(std::move(row));
  }
  return end;
}

}  // namespace stanley
