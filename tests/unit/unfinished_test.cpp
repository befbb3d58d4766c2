#include "run/unfinished.hpp"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

#include "parallel/session.hpp"
#include "storage/checkpoint.hpp"
#include "temporary_directory.hpp"

namespace stanley {
namespace {

class UnfinishedTest : public TemporaryDirectory {
 protected:
  void touch(const std::string& name) { std::ofstream(directory_ + "/" + name) << "half"; }
  bool has(const std::string& name) { return std::filesystem::exists(directory_ + "/" + name); }

  /// The number of a process that has ended.
  static pid_t ended_process() {
    const pid_t process = ::fork();
    if (process == 0) ::_exit(0);
    ::waitpid(process, nullptr, 0);
    return process;
  }
};

TEST(ProcessToken, IsNeverTheSame) { EXPECT_NE(process_token(), process_token()); }

TEST_F(UnfinishedTest, OnlyWhatTheDeadOfThisHostLeftOfThisFileGoes) {
  const std::string here = host_name() + "-";
  const std::string dead = std::to_string(ended_process()) + "-0123456789abcdef";
  const std::string alive = process_token();
  const std::string gone = "same.nc.part." + here + dead;
  const std::vector<std::string> stay{
      "same.nc.part." + alive,        "same.nc.part.elsewhere-" + dead,
      "other.nc.part." + here + dead, "same.nc",
      "same.nc.part.local",           "same.nc.part." + here + "x-y"};
  touch(gone);
  for (const auto& name : stay) touch(name);
  remove_abandoned(directory_ + "/same.nc");
  EXPECT_FALSE(has(gone));
  for (const auto& name : stay) EXPECT_TRUE(has(name)) << name;
  remove_abandoned(directory_ + "/nowhere/same.nc");  // no folder, nothing to do
}

TEST_F(UnfinishedTest, ATrainingRemovesItsOwnKindAlone) {
  const std::vector<std::string> gone{"iteration-00000004.h5.part.n1-7-ab",
                                      "draws-00000004.nc.part.n1-7-ab", "latest.part.n1-7-ab",
                                      "best.part.n1-7-ab"};
  const std::vector<std::string> stay{"analysis.nc.part.n1-7-ab", "my.part.of.the.work",
                                      "chains.png.part.77", "draws-00000004.nc",
                                      "draws-mine.nc.part.1"};
  for (const auto& name : gone) touch(name);
  for (const auto& name : stay) touch(name);
  remove_unfinished(directory_);
  for (const auto& name : gone) EXPECT_FALSE(has(name)) << name;
  for (const auto& name : stay) EXPECT_TRUE(has(name)) << name;
}

}  // namespace
}  // namespace stanley
