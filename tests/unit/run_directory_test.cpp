#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>

#include "config/error.hpp"
#include "run/directory.hpp"
#include "temporary_directory.hpp"

namespace stanley {
namespace {

namespace fs = std::filesystem;

class RunOwner : public TemporaryDirectory {};

nlohmann::json owner_of(const std::string& path) {
  return nlohmann::json::parse(read_text(path + "/owner.json"));
}

void write_owner(const std::string& path, const nlohmann::json& owner) {
  std::ofstream(path + "/owner.json") << owner.dump();
}

TEST_F(RunOwner, ADirectoryIsMadeTakenAndGivenBack) {
  const std::string path = directory_ + "/a/b";
  {
    RunDirectory directory(path);
    EXPECT_FALSE(fs::exists(path));
    directory.take("");
    EXPECT_TRUE(fs::is_directory(directory.samples()));
    EXPECT_TRUE(fs::is_directory(directory.checkpoints()));
    EXPECT_EQ(owner_of(path)["process"], getpid());
    directory.check_ownership();
  }
  EXPECT_FALSE(fs::exists(path + "/owner.json"));
  RunDirectory again(path);
  again.take("");
}

TEST_F(RunOwner, ALivingOwnerKeepsTheDirectory) {
  RunDirectory owner(directory_);
  owner.take("12");
  for (const char* job : {"", "13"}) {
    RunDirectory other(directory_);
    const std::string message = input_output_failure([&] { other.take(job); });
    EXPECT_NE(message.find("in use by process " + std::to_string(getpid())), std::string::npos);
    EXPECT_NE(message.find(directory_), std::string::npos);
  }
  // The refused ones took nothing with them when they went.
  owner.check_ownership();
}

TEST_F(RunOwner, ADeadOwnerLosesIt) {
  const pid_t child = fork();
  if (child == 0) _exit(0);
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  nlohmann::json owner;
  {
    RunDirectory directory(directory_);
    directory.take("");
    owner = owner_of(directory_);
  }
  owner["token"] = "somebody else";
  owner["process"] = child;
  write_owner(directory_, owner);
  { RunDirectory(directory_).take(""); }
  // A process number that is used again: this process lives, but started at another time.
  owner["process"] = getpid();
  owner["process_start"] = "1";
  write_owner(directory_, owner);
  { RunDirectory(directory_).take(""); }
  // An owner file that was cut off.
  std::ofstream(directory_ + "/owner.json") << "{\"tok";
  RunDirectory(directory_).take("");
}

TEST_F(RunOwner, OtherHostsAreTrustedUnlessTheJobIsTheSame) {
  nlohmann::json owner{{"token", "x"},
                       {"host", "another.host"},
                       {"process", 1},
                       {"process_start", "1"},
                       {"job", "77"}};
  write_owner(directory_, owner);
  EXPECT_NE(input_output_failure([&] { RunDirectory(directory_).take("78"); }).find("another.host"),
            std::string::npos);
  { RunDirectory(directory_).take("77"); }
  owner["job"] = "";
  write_owner(directory_, owner);
  EXPECT_NE(input_output_failure([&] { RunDirectory(directory_).take(""); }), "");
}

TEST_F(RunOwner, ARunThatLostItsDirectoryLeavesItAlone) {
  {
    RunDirectory lost(directory_);
    lost.take("");
    nlohmann::json owner = owner_of(directory_);
    owner["token"] = "the new owner";
    write_owner(directory_, owner);
    EXPECT_NE(input_output_failure([&] { lost.check_ownership(); }).find("another run"),
              std::string::npos);
  }
  EXPECT_EQ(owner_of(directory_)["token"], "the new owner");
}

TEST_F(RunOwner, ADirectoryThatCannotBeMadeIsNamed) {
  // Root may write anywhere but below a file.
  std::ofstream(directory_ + "/file") << "text";
  for (const std::string& path : {directory_ + "/file", directory_ + "/file/run"}) {
    const std::string message = input_output_failure([&] { RunDirectory(path).take(""); });
    EXPECT_NE(message.find(path), std::string::npos) << message;
    EXPECT_NE(message.find("--run-directory"), std::string::npos) << message;
  }
}

}  // namespace
}  // namespace stanley
