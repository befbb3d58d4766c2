#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <functional>
#include <string>

#include "config/error.hpp"

namespace stanley {

/// A test with a directory of its own, which goes with it.
class TemporaryDirectory : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "stanley-XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    directory_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::string directory_;
};

/// The message of the input or output error that the step ends in; empty if it does not.
inline std::string input_output_failure(const std::function<void()>& step) {
  try {
    step();
  } catch (const Error& error) {
    EXPECT_EQ(error.code, ExitCode::input_output) << error.what();
    return error.what();
  }
  return "";
}

}  // namespace stanley
