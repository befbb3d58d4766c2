#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <vector>

#include "config/error.hpp"
#include "run/directory.hpp"
#include "temporary_directory.hpp"

namespace stanley {
namespace {

namespace fs = std::filesystem;

nlohmann::json owner_of(const std::string& path) {
  return nlohmann::json::parse(read_text(path + "/owner.json"));
}

/// What claimants leave when they are killed.
std::vector<std::string> claims_in(const std::string& path) {
  std::vector<std::string> claims;
  for (const auto& entry : fs::directory_iterator(path)) {
    const std::string name = entry.path().filename();
    if (name.starts_with("owner-")) claims.push_back(name);
  }
  return claims;
}

/// A process number that nobody has, as long as it isn't used again.
pid_t ended_process() {
  const pid_t child = fork();
  if (child == 0) _exit(0);
  waitpid(child, nullptr, 0);
  return child;
}

double modified(const std::string& path) {
  struct stat status {};
  EXPECT_EQ(::stat(path.c_str(), &status), 0);
  return static_cast<double>(status.st_mtim.tv_sec) +
         1e-9 * static_cast<double>(status.st_mtim.tv_nsec);
}

class RunOwner : public TemporaryDirectory {
 protected:
  std::string file() const { return directory_ + "/owner.json"; }

  /// The owner file of a run whose heart beat so many seconds ago.
  void write_owner(const nlohmann::json& owner, int age = 0) const { write(file(), owner, age); }

  static void write(const std::string& path, const nlohmann::json& owner, int age = 0) {
    std::ofstream(path) << owner.dump();
    const timespec then{::time(nullptr) - age, 0};
    const timespec times[2] = {then, then};
    ASSERT_EQ(utimensat(AT_FDCWD, path.c_str(), times, 0), 0);
  }

  /// Takes the directory and gives it back; what was said if it was refused.
  std::string claim(const Claim& claim) const {
    return input_output_failure([&] {
      RunDirectory directory(directory_);
      directory.take(claim);
      EXPECT_EQ(owner_of(directory_)["process"], getpid());
      EXPECT_EQ(claims_in(directory_), std::vector<std::string>{});
    });
  }

  const nlohmann::json elsewhere_{{"token", "x"},  {"host", "another.host"},
                                  {"process", 17}, {"process_start", "123"},
                                  {"job", "77"},   {"restart_count", 2}};
};

TEST_F(RunOwner, ADirectoryIsMadeTakenAndGivenBack) {
  const std::string path = directory_ + "/a/b";
  {
    RunDirectory directory(path);
    EXPECT_FALSE(fs::exists(path));
    directory.take({.job = "12", .cluster = "here", .restart_count = 3});
    EXPECT_TRUE(fs::is_directory(directory.samples()));
    EXPECT_TRUE(fs::is_directory(directory.checkpoints()));
    const nlohmann::json owner = owner_of(path);
    EXPECT_EQ(owner["process"], getpid());
    EXPECT_EQ(owner["job"], "12");
    EXPECT_EQ(owner["cluster"], "here");
    EXPECT_EQ(owner["restart_count"], 3);
    EXPECT_EQ(claims_in(path), std::vector<std::string>{});
    directory.check_ownership();
  }
  EXPECT_FALSE(fs::exists(path + "/owner.json"));
  RunDirectory again(path);
  again.take({});
}

TEST_F(RunOwner, TheClaimIsReadFromSlurmsEnvironment) {
  for (const char* name : {"SLURM_JOB_ID", "SLURM_CLUSTER_NAME", "SLURM_RESTART_COUNT"}) {
    unsetenv(name);
  }
  EXPECT_EQ(claim_of_job().job, "");
  EXPECT_EQ(claim_of_job().restart_count, 0);
  setenv("SLURM_JOB_ID", "12", 1);
  setenv("SLURM_CLUSTER_NAME", "here", 1);
  setenv("SLURM_RESTART_COUNT", "3", 1);
  const Claim claim = claim_of_job();
  for (const char* name : {"SLURM_JOB_ID", "SLURM_CLUSTER_NAME", "SLURM_RESTART_COUNT"}) {
    unsetenv(name);
  }
  EXPECT_EQ(claim.job, "12");
  EXPECT_EQ(claim.cluster, "here");
  EXPECT_EQ(claim.restart_count, 3);
}

TEST_F(RunOwner, ALivingOwnerKeepsTheDirectory) {
  RunDirectory owner(directory_);
  owner.take({.job = "12"});
  const nlohmann::json before = owner_of(directory_);
  // The same job too: two of its steps may run at once.
  for (const char* job : {"", "12", "13"}) {
    const std::string message = claim({.job = job});
    EXPECT_NE(message.find("in use by process " + std::to_string(getpid())), std::string::npos);
    EXPECT_NE(message.find(directory_), std::string::npos);
  }
  // The refused ones took nothing with them when they went.
  owner.check_ownership();
  EXPECT_EQ(owner_of(directory_), before);
  EXPECT_EQ(claims_in(directory_), std::vector<std::string>{});
}

TEST_F(RunOwner, ADeadOwnerLosesIt) {
  nlohmann::json owner;
  {
    RunDirectory directory(directory_);
    directory.take({});
    owner = owner_of(directory_);
  }
  owner["token"] = "somebody else";
  owner["process"] = ended_process();
  write_owner(owner);
  EXPECT_EQ(claim({}), "");
  // A process number that is used again: this process lives, but started at another time.
  owner["process"] = getpid();
  owner["process_start"] = "1";
  write_owner(owner);
  EXPECT_EQ(claim({}), "");
  // Owner files that were cut off.
  for (const char* text : {"", "{\"tok", "[]", "{\"token\": 1, \"process\": \"x\"}"}) {
    std::ofstream(file()) << text;
    EXPECT_EQ(claim({}), "");
  }
}

/// Two hosts, or containers of one host, may have the same name: the processes of one are not
/// looked for on the other.
TEST_F(RunOwner, OnAnotherHostOfTheSameNameTheHeartbeatCounts) {
  nlohmann::json owner;
  {
    RunDirectory directory(directory_);
    directory.take({});
    owner = owner_of(directory_);
  }
  EXPECT_NE(owner["boot"], "");
  EXPECT_NE(owner["process_namespace"], "");
  owner["token"] = "somebody else";
  owner["process"] = ended_process();
  for (const char* key : {"boot", "process_namespace"}) {
    nlohmann::json other = owner;
    other[key] = "another";
    write_owner(other, 60);
    EXPECT_NE(claim({}).find("in use by process"), std::string::npos) << key;
    EXPECT_TRUE(RunDirectory(directory_).occupied()) << key;
    write_owner(other, 200);
    EXPECT_FALSE(RunDirectory(directory_).occupied()) << key;
    EXPECT_EQ(claims_in(directory_), std::vector<std::string>{});
    EXPECT_EQ(claim({}), "") << key;
  }
  // Older releases wrote neither: the name alone counts.
  owner.erase("boot");
  owner.erase("process_namespace");
  write_owner(owner);
  EXPECT_FALSE(RunDirectory(directory_).occupied());
  EXPECT_EQ(claim({}), "");
}

TEST_F(RunOwner, AStoppedProcessStillOwns) {
  RunDirectory owner(directory_);
  owner.take({});
  write_owner(owner_of(directory_), 100000);
  EXPECT_NE(claim({.stale_after = std::chrono::seconds(1)}), "");
  owner.check_ownership();
}

TEST_F(RunOwner, OnAnotherHostTheHeartbeatCounts) {
  write_owner(elsewhere_, 60);
  const std::string message = claim({.job = "78"});
  for (const char* word : {"process 17", "another.host", "job 77", "heartbeat was 6", "wait for it",
                           "--run-directory", "--take-over"}) {
    EXPECT_NE(message.find(word), std::string::npos) << message;
  }
  EXPECT_EQ(message.find('\n'), std::string::npos);
  EXPECT_EQ(owner_of(directory_), elsewhere_);
  EXPECT_NE(claim({.stale_after = std::chrono::seconds(90)}), "");
  EXPECT_EQ(claim({.stale_after = std::chrono::seconds(30)}), "");
  write_owner(elsewhere_, 200);
  EXPECT_EQ(claim({}), "");
  // A file that was touched later than ours was written: whatever the clocks, it lives.
  write_owner(elsewhere_, -100000);
  EXPECT_NE(claim({}).find("heartbeat was 0 s ago"), std::string::npos);
}

TEST_F(RunOwner, ARequeuedJobTakesItsOwn) {
  for (const int earlier : {0, 1}) {
    nlohmann::json owner = elsewhere_;
    owner["restart_count"] = earlier;
    write_owner(owner);
    EXPECT_EQ(claim({.job = "77", .restart_count = 2}), "");
  }
  // Another step of the same start, a later start, another job, another cluster's job, no job.
  write_owner(elsewhere_);
  EXPECT_NE(claim({.job = "77", .restart_count = 2}), "");
  EXPECT_NE(claim({.job = "77", .restart_count = 1}), "");
  EXPECT_NE(claim({.job = "78", .restart_count = 3}), "");
  EXPECT_NE(claim({.job = "77", .cluster = "there", .restart_count = 3}), "");
  nlohmann::json owner = elsewhere_;
  owner["job"] = "";
  write_owner(owner);
  EXPECT_NE(claim({.restart_count = 3}), "");
  EXPECT_EQ(owner_of(directory_), owner);
}

TEST_F(RunOwner, TakingOverAsksNobody) {
  write_owner(elsewhere_);
  EXPECT_EQ(claim({.take_over = true}), "");
  RunDirectory living(directory_);
  living.take({});
  {
    RunDirectory taker(directory_);
    taker.take({.take_over = true});
    taker.check_ownership();
    EXPECT_NE(input_output_failure([&] { living.check_ownership(); }).find("another run"),
              std::string::npos);
    EXPECT_EQ(claims_in(directory_), std::vector<std::string>{});
  }
  EXPECT_FALSE(fs::exists(file()));
}

TEST_F(RunOwner, AnOwnerFileThatCannotBeReadIsLeftAlone) {
  fs::create_directory(file());
  const std::string message = claim({});
  EXPECT_NE(message.find(file() + " can't be read"), std::string::npos) << message;
  EXPECT_NE(message.find("--take-over"), std::string::npos) << message;
  EXPECT_TRUE(fs::is_directory(file()));
  EXPECT_NE(claim({.take_over = true}), "");
  EXPECT_EQ(claims_in(directory_), std::vector<std::string>{});
}

// --- Slurm
// -----------------------------------------------------------------------------------------
/// A squeue on PATH that a test writes.
class RunOwnerOfJob : public RunOwner {
 protected:
  void SetUp() override {
    RunOwner::SetUp();
    path_ = getenv("PATH");
    fs::create_directory(directory_ + "/bin");
    setenv("PATH", (directory_ + "/bin:" + path_).c_str(), 1);
  }
  void TearDown() override {
    setenv("PATH", path_.c_str(), 1);
    RunOwner::TearDown();
  }

  void squeue_does(const std::string& script) const {
    const std::string path = directory_ + "/bin/squeue";
    std::ofstream(path) << "#!/bin/sh\necho \"$@\" >> '" << directory_ << "/asked'\n" << script;
    fs::permissions(path, fs::perms::owner_all);
  }

  /// The arguments that squeue was called with since the last time.
  std::string asked() const {
    const std::string text = read_text(directory_ + "/asked");
    fs::remove(directory_ + "/asked");
    return text;
  }

  std::string path_;
};

TEST_F(RunOwnerOfJob, AJobThatHasEndedOwnsNothing) {
  for (const char* script :
       {"echo COMPLETED", "echo NODE_FAIL", "echo CANCELLED; echo TIMEOUT", "exit 0",
        "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1"}) {
    squeue_does(script);
    write_owner(elsewhere_);
    EXPECT_EQ(claim({.job = "78"}), "") << script;
    EXPECT_NE(asked().find("--jobs=77"), std::string::npos);
  }
}

TEST_F(RunOwnerOfJob, AJobThatRunsKeepsIt) {
  // A requeued job is pending; a completing one may still write; failures say nothing.
  for (const char* script :
       {"echo RUNNING", "echo PENDING", "echo COMPLETING", "echo COMPLETED; echo RUNNING", "exit 1",
        "echo 'Unable to contact slurm controller' >&2; exit 1", "echo COMPLETED; exit 1",
        "kill -9 $$"}) {
    squeue_does(script);
    write_owner(elsewhere_);
    EXPECT_NE(claim({.job = "78"}), "") << script;
    EXPECT_NE(asked(), "") << script;
    EXPECT_EQ(owner_of(directory_), elsewhere_);
  }
}

TEST_F(RunOwnerOfJob, ASlurmThatDoesNotAnswerIsNotWaitedFor) {
  squeue_does("trap '' TERM; while true; do sleep 1; done");
  write_owner(elsewhere_);
  EXPECT_NE(claim({.job = "78"}), "");  // or this would never return
}

TEST_F(RunOwnerOfJob, SlurmIsNotAskedAboutWhatItDoesNotKnow) {
  squeue_does("exit 0");
  write_owner(elsewhere_);
  EXPECT_NE(claim({.job = "77", .restart_count = 2}), "");      // it runs: we are in it
  EXPECT_NE(claim({.job = "78", .cluster = "elsewhere"}), "");  // not this Slurm's job
  if (::geteuid() == 0) {  // others' jobs may be hidden from us
    ASSERT_EQ(::chown(file().c_str(), 12345, 0), 0);
    EXPECT_NE(claim({.job = "78"}), "");
  }
  for (const char* job : {"", "7;7", "local"}) {
    nlohmann::json owner = elsewhere_;
    owner["job"] = job;
    fs::remove(file());
    write_owner(owner);
    EXPECT_NE(claim({.job = "78"}), "") << job;
  }
  // A process that is seen to live needs no job.
  RunDirectory living(directory_);
  living.take({.job = "77", .take_over = true});
  EXPECT_NE(claim({.job = "78"}), "");
  EXPECT_EQ(asked(), "");
}

TEST_F(RunOwnerOfJob, WithoutSqueueTheHeartbeatDecides) {
  setenv("PATH", (directory_ + "/bin").c_str(), 1);
  write_owner(elsewhere_);
  EXPECT_NE(claim({.job = "78"}), "");
  write_owner(elsewhere_, 200);
  EXPECT_EQ(claim({.job = "78"}), "");
}

// --- heartbeat, loss, races
// --------------------------------------------------------------------------
TEST_F(RunOwner, AHeartbeatTouchesTheOwnFile) {
  RunDirectory directory(directory_);
  directory.take({});
  write_owner(owner_of(directory_), 1000);
  const double before = modified(file());
  const std::string text = read_text(file());
  directory.beat();
  EXPECT_GT(modified(file()), before + 900);
  EXPECT_EQ(read_text(file()), text);
}

TEST_F(RunOwner, AHeartbeatTouchesNobodyElses) {
  RunDirectory lost(directory_);
  lost.beat();  // not taken yet
  EXPECT_FALSE(fs::exists(file()));
  lost.take({});
  for (const nlohmann::json& other : {elsewhere_, nlohmann::json("broken")}) {
    write_owner(other, 50);
    const double before = modified(file());
    lost.beat();
    EXPECT_EQ(modified(file()), before);
    EXPECT_EQ(read_text(file()), other.dump());
  }
  fs::remove(file());
  lost.beat();
  EXPECT_FALSE(fs::exists(file()));
}

TEST_F(RunOwner, ARunThatLostItsDirectoryLeavesItAlone) {
  {
    RunDirectory lost(directory_);
    lost.take({});
    nlohmann::json owner = owner_of(directory_);
    owner["token"] = "the new owner";
    write_owner(owner);
    EXPECT_NE(input_output_failure([&] { lost.check_ownership(); }).find("another run"),
              std::string::npos);
  }
  EXPECT_EQ(owner_of(directory_)["token"], "the new owner");
}

TEST_F(RunOwner, WhatKilledClaimantsLeftIsNoObstacleAndGoes) {
  nlohmann::json dead = elsewhere_, claimant = elsewhere_, living = elsewhere_;
  write_owner(dead, 500);
  // It had the right to follow the dead owner, and died before it used it; so did the next one.
  claimant["token"] = "y";
  write(directory_ + "/owner-after-x.part", claimant, 400);
  claimant["token"] = "z";
  write(directory_ + "/owner-after-y.part", claimant, 300);
  write(directory_ + "/owner-z.part", claimant, 300);
  write(directory_ + "/owner-w.part.part", "", 10);
  EXPECT_EQ(claim({}), "");
  // One that may be about to fill its file.
  write(directory_ + "/owner-v.part.part", "");
  RunDirectory(directory_).take({});
  EXPECT_TRUE(fs::exists(directory_ + "/owner-v.part.part"));
  // As long as it lives, it is the owner.
  write_owner(dead, 500);
  write(directory_ + "/owner-after-x.part", claimant, 10);
  EXPECT_NE(claim({}).find("heartbeat was 1"), std::string::npos);
  EXPECT_EQ(owner_of(directory_), dead);
  EXPECT_TRUE(fs::exists(directory_ + "/owner-after-x.part"));
}

/// Many processes want the directory at once; how many got it.
int winners_of_a_race(const std::string& path, int claimants) {
  int go[2], done[2], end[2];
  EXPECT_EQ(pipe(go) + pipe(done) + pipe(end), 0);
  for (int i = 0; i < claimants; ++i) {
    if (fork() != 0) continue;
    close(go[1]);
    close(end[1]);
    char byte = 0;
    char verdict = '0';
    {
      RunDirectory directory(path);
      (void)!read(go[0], &byte, 1);  // returns when the parent closes its end
      try {
        directory.take({});
        verdict = '1';
      } catch (const Error&) {
      }
      (void)!write(done[1], &verdict, 1);
      (void)!read(end[0], &byte, 1);  // lives on until all have tried
    }
    _exit(0);
  }
  close(go[0]);
  close(go[1]);
  int winners = 0;
  for (int i = 0; i < claimants; ++i) {
    char verdict = 0;
    EXPECT_EQ(read(done[0], &verdict, 1), 1);
    winners += verdict == '1' ? 1 : 0;
  }
  for (const int descriptor : {done[0], done[1], end[0], end[1]}) close(descriptor);
  while (wait(nullptr) > 0) {
  }
  return winners;
}

TEST_F(RunOwner, OfManyClaimantsOfADeadRunOneWins) {
  for (int round = 0; round < 200; ++round) {
    write_owner(elsewhere_, 1000);
    ASSERT_EQ(winners_of_a_race(directory_, 8), 1) << "round " << round;
    EXPECT_EQ(claims_in(directory_), std::vector<std::string>{});
    EXPECT_FALSE(fs::exists(file()));
  }
}

TEST_F(RunOwner, ADirectoryThatCannotBeMadeIsNamed) {
  // Root may write anywhere but below a file.
  std::ofstream(directory_ + "/file") << "text";
  for (const std::string& path : {directory_ + "/file", directory_ + "/file/run"}) {
    const std::string message = input_output_failure([&] { RunDirectory(path).take({}); });
    EXPECT_NE(message.find(path), std::string::npos) << message;
    EXPECT_NE(message.find("--run-directory"), std::string::npos) << message;
  }
}

}  // namespace
}  // namespace stanley
