#include "run/rejection.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>

#include "storage/checkpoint.hpp"
#include "temporary_directory.hpp"

namespace stanley {
namespace {

namespace fs = std::filesystem;

class Rejection : public TemporaryDirectory {
 protected:
  void SetUp() override {
    TemporaryDirectory::SetUp();
    run_.emplace(directory_ + "/run");
    run_->take({});
  }
  void TearDown() override {
    run_.reset();
    TemporaryDirectory::TearDown();
  }

  /// `best`: the iteration of the best evaluation that it knows of; none: it knows of none.
  void write_checkpoint_of(std::int64_t iteration, std::int64_t attempt,
                           std::optional<std::int64_t> best = {}) {
    Progress progress{{"iteration", iteration}, {"attempt", attempt}};
    if (best) progress[best_progress] = *best;
    const auto communicator = make_local_communicator();
    float weight = 1;
    write_checkpoint(*communicator, run_->checkpoints(),
                     {.iteration = iteration,
                      .arrays = {{.name = "parameters/w",
                                  .type = ElementType::float32,
                                  .shape = {1},
                                  .data = &weight}},
                      .progress = progress,
                      .texts = {},
                      .best = best == iteration},
                     {});
  }

  /// The file that the link is at; "none" without a link, "nothing" if it dangles.
  std::string target_of(const char* name) const {
    const fs::path link = fs::path(run_->checkpoints()) / name;
    if (!fs::is_symlink(link)) return "none";
    return fs::exists(link) ? fs::read_symlink(link).string() : "nothing";
  }
  std::string latest() const { return target_of("latest"); }
  std::string best() const { return target_of("best"); }

  std::vector<std::int64_t> checkpoints() const { return list_checkpoints(run_->checkpoints()); }

  std::optional<RunDirectory> run_;
};

TEST_F(Rejection, TheLinkMovesToTheTarget) {
  for (const std::int64_t iteration : {0, 10, 20, 30}) write_checkpoint_of(iteration, 0);
  ASSERT_EQ(latest(), "iteration-00000030.h5");
  reject_files(*run_, 10, 1);
  EXPECT_EQ(checkpoints(), (std::vector<std::int64_t>{10, 0}));
  EXPECT_EQ(latest(), "iteration-00000010.h5");
  EXPECT_TRUE(fs::exists(run_->rejected(1) + "/iteration-00000030.h5"));
  EXPECT_EQ(std::distance(fs::directory_iterator(run_->checkpoints()), fs::directory_iterator{}),
            3);
  // Again, as after a start that was cut off at the end.
  reject_files(*run_, 10, 1);
  EXPECT_EQ(latest(), "iteration-00000010.h5");
}

TEST_F(Rejection, TheLinkMovesBeforeTheFiles) {
  for (const std::int64_t iteration : {0, 10, 20}) write_checkpoint_of(iteration, 0);
  std::ofstream(run_->path() + "/rejected") << "stands in the way";
  EXPECT_NE(input_output_failure([&] { reject_files(*run_, 10, 1); }), "");
  EXPECT_EQ(checkpoints(), (std::vector<std::int64_t>{20, 10, 0}));
  EXPECT_EQ(latest(), "iteration-00000010.h5");
}

TEST_F(Rejection, CheckpointsOfTheNewAttemptKeepIt) {
  for (const std::int64_t iteration : {0, 10}) write_checkpoint_of(iteration, 0);
  write_checkpoint_of(20, 1);
  std::ofstream(checkpoint_path(run_->checkpoints(), 30)) << "no checkpoint";
  reject_files(*run_, 10, 1);
  EXPECT_EQ(checkpoints(), (std::vector<std::int64_t>{30, 20, 10, 0}));
  EXPECT_EQ(latest(), "iteration-00000020.h5");
  EXPECT_FALSE(fs::exists(run_->rejected(1)));
}

TEST_F(Rejection, ARejectedBestGivesWayToTheOneBefore) {
  write_checkpoint_of(0, 0);
  for (const std::int64_t iteration : {4, 10, 14, 20}) {
    write_checkpoint_of(iteration, 0, iteration < 14 ? 4 : 14);
  }
  ASSERT_EQ(best(), "iteration-00000014.h5");
  reject_files(*run_, 10, 1);
  EXPECT_EQ(best(), "iteration-00000004.h5");
  EXPECT_TRUE(fs::exists(run_->rejected(1) + "/iteration-00000014.h5"));
  // What the new attempt finds better stays where the call is made again.
  write_checkpoint_of(16, 1, 16);
  reject_files(*run_, 10, 1);
  EXPECT_EQ(best(), "iteration-00000016.h5");
  reject_files(*run_, 0, 2);
  EXPECT_EQ(best(), "none");
}

TEST_F(Rejection, TheBestIsALinkToAFileOrNone) {
  for (const std::int64_t iteration : {0, 10}) write_checkpoint_of(iteration, 0);
  point_best_at(10, *run_);
  EXPECT_EQ(best(), "iteration-00000010.h5");
  point_best_at(20, *run_);
  EXPECT_EQ(best(), "none");
  point_best_at(0, *run_);
  point_best_at({}, *run_);
  EXPECT_EQ(best(), "none");
}

TEST_F(Rejection, WithoutACheckpointThereIsNoLink) {
  write_checkpoint_of(20, 0);
  reject_files(*run_, 10, 1);
  EXPECT_EQ(checkpoints(), std::vector<std::int64_t>{});
  EXPECT_EQ(latest(), "none");
  EXPECT_EQ(best(), "none");
}

TEST_F(Rejection, ALinkThatCannotBeMovedLeavesNothing) {
  write_checkpoint_of(0, 0);
  fs::create_directories(run_->checkpoints() + "/best/below");
  EXPECT_THROW(point_best_at(0, *run_), Error);
  EXPECT_EQ(std::distance(fs::directory_iterator(run_->checkpoints()), {}), 3);  // latest, the file
}

}  // namespace
}  // namespace stanley
