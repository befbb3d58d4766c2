#include "run/slurm.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "config/time_limit.hpp"
#include "temporary_directory.hpp"

namespace stanley {
namespace {

using Clock = std::chrono::system_clock;

/// A squeue that says what it is told to, first in the path.
class SlurmJob : public TemporaryDirectory {
 protected:
  void SetUp() override {
    TemporaryDirectory::SetUp();
    const char* path = std::getenv("PATH");
    path_ = path == nullptr ? "" : path;
    setenv("PATH", (directory_ + ":" + path_).c_str(), 1);
  }
  void TearDown() override {
    setenv("PATH", path_.c_str(), 1);
    TemporaryDirectory::TearDown();
  }

  void squeue_says(const std::string& text) const {
    const std::string file = directory_ + "/squeue";
    std::ofstream(file) << "#!/bin/sh\necho '" << text << "'\n";
    std::filesystem::permissions(file, std::filesystem::perms::owner_all);
  }

  std::string path_;
};

TEST_F(SlurmJob, ItsEndIsTheEnvironmentsWord) {
  squeue_says("2100-01-01T00:00:00");
  EXPECT_EQ(slurm_job_end({{"SLURM_JOB_ID", "7"}, {"SLURM_JOB_END_TIME", "4000000000"}}),
            Clock::from_time_t(4000000000));
}

TEST_F(SlurmJob, AnOlderSlurmIsAsked) {
  squeue_says("2100-01-01T00:00:00");
  EXPECT_EQ(slurm_job_end({{"SLURM_JOB_ID", "7"}}), end_time("2100-01-01T00:00:00", {}));
}

TEST_F(SlurmJob, ATaskOfAnArrayAsksForItself) {
  const std::string file = directory_ + "/squeue";
  std::ofstream(file) << "#!/bin/sh\nfor last; do :; done\n"
                         "[ \"$last\" = --jobs=7_2 ] && echo 2100-01-01T00:00:00\n";
  std::filesystem::permissions(file, std::filesystem::perms::owner_all);
  EXPECT_EQ(slurm_job_end(
                {{"SLURM_JOB_ID", "7"}, {"SLURM_ARRAY_JOB_ID", "7"}, {"SLURM_ARRAY_TASK_ID", "2"}}),
            end_time("2100-01-01T00:00:00", {}));
}

TEST_F(SlurmJob, NoEndWithoutAJobOrALimitOrOnceItHasPassed) {
  squeue_says("2100-01-01T00:00:00");
  EXPECT_EQ(slurm_job_end({}), std::nullopt);
  EXPECT_EQ(slurm_job_end({{"SLURM_JOB_END_TIME", "4000000000"}}), std::nullopt);
  EXPECT_EQ(slurm_job_end({{"SLURM_JOB_ID", "7"}, {"SLURM_JOB_END_TIME", "1000"}}), std::nullopt);
  for (const char* answer : {"N/A", "NONE", "", "slurm_load_jobs error", "2001-01-01T00:00:00"}) {
    squeue_says(answer);
    EXPECT_EQ(slurm_job_end({{"SLURM_JOB_ID", "7"}}), std::nullopt) << answer;
  }
}

TEST_F(SlurmJob, HasEndedIfEachOfItsStatesIsFinal) {
  squeue_says("COMPLETED");
  EXPECT_TRUE(slurm_job_has_ended("7"));
  squeue_says("PENDING");
  EXPECT_FALSE(slurm_job_has_ended("7"));
  EXPECT_FALSE(slurm_job_has_ended(""));
  EXPECT_FALSE(slurm_job_has_ended("7; true"));
}

}  // namespace
}  // namespace stanley
