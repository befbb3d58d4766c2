#pragma once

#include <string>
#include <vector>

namespace stanley {

/// Where a value stands: a position in a file (lines and columns from 1; 0: nowhere in it), or one
/// of the overrides of the command line.
struct Place {
  int line{0};
  int column{0};
  int override_index{-1};
  int file{0};  ///< as Problems::add_file() numbers them

  bool operator==(const Place&) const = default;
};

/// The mistakes found in one configuration, reported together.
class Problems {
 public:
  Problems(std::string file, std::vector<std::string> overrides);

  /// One more file that the configuration inherits; its number (the first file's is 0).
  int add_file(std::string file);
  const std::string& file(int number) const;

  /// A mistake in the value or the name of the key `path` (empty: the file as a whole), which is
  /// distrusted from now on. The same mistake counts once.
  void add(const Place& place, const std::string& path, const std::string& message);

  /// Values that are good alone but not together; `path` is one of their keys.
  void add_relation(const Place& place, const std::string& path, const std::string& message);

  /// Keys whose value is not what was meant (empty path: all keys): checks that compare them with
  /// others stay silent.
  void distrust(const std::string& path);
  bool trusts(const std::string& path) const;  ///< also false below or above a distrusted path

  /// Throws one Error(ExitCode::configuration), a line for each mistake: those in the files in
  /// their order, then the overrides in theirs, then what has no place.
  void throw_if_any() const;

 private:
  struct Problem {
    Place place;
    std::string path;
    std::string message;

    bool operator==(const Problem&) const = default;
  };
  std::string line_of(const Problem& problem) const;

  std::vector<std::string> files_;
  std::vector<std::string> overrides_;
  std::vector<Problem> problems_;
  std::vector<std::string> distrusted_;
};

}  // namespace stanley
