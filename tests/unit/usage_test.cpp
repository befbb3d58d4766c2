#include "run/usage.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "temporary_directory.hpp"

namespace stanley {
namespace {

class Usage : public TemporaryDirectory {
 protected:
  void counter(const std::string& name, double microjoules) {
    const std::string folder = directory_ + "/" + name;
    std::filesystem::create_directories(folder);
    std::ofstream(folder + "/energy_uj") << std::fixed << microjoules << '\n';
    std::ofstream(folder + "/max_energy_range_uj") << "10000000\n";
  }
};

TEST_F(Usage, EnergyIsSummedOverProcessorsNotTheirParts) {
  counter("intel-rapl:0", 1e6);
  counter("intel-rapl:1", 5e6);
  counter("intel-rapl:0:0", 0);
  NodeEnergy energy(directory_);
  counter("intel-rapl:0", 3e6);
  counter("intel-rapl:0:0", 9e6);
  EXPECT_DOUBLE_EQ(energy.joules().value(), 2);
  counter("intel-rapl:1", 5.5e6);
  EXPECT_DOUBLE_EQ(energy.joules().value(), 0.5);
}

TEST_F(Usage, ACounterThatBeganAgainCountsOn) {
  counter("intel-rapl:0", 9e6);
  NodeEnergy energy(directory_);
  counter("intel-rapl:0", 1e6);
  EXPECT_DOUBLE_EQ(energy.joules().value(), 2);
}

TEST_F(Usage, WithoutCountersThereIsNoEnergy) {
  EXPECT_FALSE(NodeEnergy(directory_).joules());
  EXPECT_FALSE(NodeEnergy(directory_ + "/none").joules());
}

TEST(Memory, HasAPeak) { EXPECT_GT(peak_memory(), 1e6); }

}  // namespace
}  // namespace stanley
