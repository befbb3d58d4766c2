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

namespace stanley {
namespace {

namespace fs = std::filesystem;

class RunOwner : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "stanley-run-XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    path_ = name;
  }
  void TearDown() override { fs::remove_all(path_); }

  std::string path_;
};

std::string failure(const std::function<void()>& step) {
  try {
    step();
  } catch (const Error& error) {
    EXPECT_EQ(error.code, ExitCode::input_output) << error.what();
    return error.what();
  }
  return "";
}

nlohmann::json owner_of(const std::string& path) {
  return nlohmann::json::parse(read_text(path + "/owner.json"));
}

void write_owner(const std::string& path, const nlohmann::json& owner) {
  std::ofstream(path + "/owner.json") << owner.dump();
}

TEST_F(RunOwner, ADirectoryIsMadeTakenAndGivenBack) {
  const std::string path = path_ + "/a/b";
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
  RunDirectory owner(path_);
  owner.take("12");
  for (const char* job : {"", "13"}) {
    RunDirectory other(path_);
    const std::string message = failure([&] { other.take(job); });
    EXPECT_NE(message.find("in use by process " + std::to_string(getpid())), std::string::npos);
    EXPECT_NE(message.find(path_), std::string::npos);
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
    RunDirectory directory(path_);
    directory.take("");
    owner = owner_of(path_);
  }
  owner["token"] = "somebody else";
  owner["process"] = child;
  write_owner(path_, owner);
  { RunDirectory(path_).take(""); }
  // A process number that is used again: this process lives, but started at another time.
  owner["process"] = getpid();
  owner["process_start"] = "1";
  write_owner(path_, owner);
  { RunDirectory(path_).take(""); }
  // An owner file that was cut off.
  std::ofstream(path_ + "/owner.json") << "{\"tok";
  RunDirectory(path_).take("");
}

TEST_F(RunOwner, OtherHostsAreTrustedUnlessTheJobIsTheSame) {
  nlohmann::json owner{{"token", "x"},
                       {"host", "another.host"},
                       {"process", 1},
                       {"process_start", "1"},
                       {"job", "77"}};
  write_owner(path_, owner);
  EXPECT_NE(failure([&] { RunDirectory(path_).take("78"); }).find("another.host"),
            std::string::npos);
  { RunDirectory(path_).take("77"); }
  owner["job"] = "";
  write_owner(path_, owner);
  EXPECT_NE(failure([&] { RunDirectory(path_).take(""); }), "");
}

TEST_F(RunOwner, ARunThatLostItsDirectoryLeavesItAlone) {
  {
    RunDirectory lost(path_);
    lost.take("");
    nlohmann::json owner = owner_of(path_);
    owner["token"] = "the new owner";
    write_owner(path_, owner);
    EXPECT_NE(failure([&] { lost.check_ownership(); }).find("another run"), std::string::npos);
  }
  EXPECT_EQ(owner_of(path_)["token"], "the new owner");
}

TEST_F(RunOwner, ADirectoryThatCannotBeMadeIsNamed) {
  // Root may write anywhere but below a file.
  std::ofstream(path_ + "/file") << "text";
  for (const std::string& path : {path_ + "/file", path_ + "/file/run"}) {
    const std::string message = failure([&] { RunDirectory(path).take(""); });
    EXPECT_NE(message.find(path), std::string::npos) << message;
    EXPECT_NE(message.find("--run-directory"), std::string::npos) << message;
  }
}

}  // namespace
}  // namespace stanley
