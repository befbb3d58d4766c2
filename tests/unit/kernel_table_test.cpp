#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <regex>
#include <set>

#include "kernel_cases.hpp"
#include "kernels/instruction_sets.hpp"

namespace stanley {
namespace {

/// What one call gives in this instruction set.
std::vector<float> result_in(InstructionSet set, std::size_t number) {
  const ForcedInstructionSet forced(set);
  const KernelCase one = make_kernel_cases().at(number);
  one.call();
  return one.result();
}

TEST(KernelTable, VariantsAgree) {
  const std::vector<KernelCase> cases = make_kernel_cases();
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const std::vector<float> reference = result_in(InstructionSet::plain, i);
    float largest = 0;
    for (const float one : reference) largest = std::max(largest, std::fabs(one));
    EXPECT_GT(largest, 0) << cases[i].name;
    for (const InstructionSet set : processor_instruction_sets()) {
      const std::vector<float> found = result_in(set, i);
      ASSERT_EQ(found.size(), reference.size()) << cases[i].name;
      double apart = 0;
      for (std::size_t k = 0; k < found.size(); ++k) {
        const double one = static_cast<double>(std::fabs(found[k] - reference[k]));
        if (!(one <= apart)) apart = one;  // NaN too
      }
      EXPECT_LE(apart, cases[i].apart * static_cast<double>(largest))
          << cases[i].name << ' ' << name_of(set);
    }
  }
}

/// A line that is added to a table is tested and timed.
TEST(KernelTable, EveryLineHasACase) {
  std::set<std::string> listed, tried;
  for (const auto& file : std::filesystem::directory_iterator("src/kernels")) {
    if (file.path().extension() != ".hpp" || file.path().filename() == "kernel.hpp") continue;
    std::ifstream text(file.path());
    for (std::string line; std::getline(text, line);) {
      std::smatch match;
      if (std::regex_match(line, match, std::regex("STANLEY_\\w*KERNEL\\((\\w+)\\)"))) {
        listed.insert(match[1]);
      }
    }
  }
  for (const KernelCase& one : make_kernel_cases()) tried.insert(one.name);
  EXPECT_GT(listed.size(), 30u) << "run it in the checkout";
  EXPECT_EQ(listed, tried);
}

}  // namespace
}  // namespace stanley
