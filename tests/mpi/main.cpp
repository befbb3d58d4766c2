// GoogleTest under MPI: rank 0 prints as usual, the other ranks print only their failures, and the
// exit code is that of the worst rank.
#include <gtest/gtest.h>

#include <cstdio>
#include <string>

#include "test_session.hpp"

namespace {

stanley::Session* session = nullptr;

class FailurePrinter final : public testing::EmptyTestEventListener {
 public:
  explicit FailurePrinter(int rank) : rank_(rank) {}

 private:
  void OnTestStart(const testing::TestInfo& test) override {
    test_ = std::string(test.test_suite_name()) + "." + test.name();
  }

  void OnTestPartResult(const testing::TestPartResult& result) override {
    if (!result.failed()) return;
    const char* file = result.file_name() != nullptr ? result.file_name() : "unknown file";
    std::fprintf(stderr, "[rank %d] %s: %s:%d: %s\n", rank_, test_.c_str(), file,
                 result.line_number(), result.message());
  }

  int rank_;
  std::string test_{"outside of a test"};
};

}  // namespace

stanley::Session& test_session() { return *session; }

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  try {
    stanley::Session started(argc, argv);
    session = &started;
    if (started.rank() != 0) {
      auto& listeners = testing::UnitTest::GetInstance()->listeners();
      delete listeners.Release(listeners.default_result_printer());
      listeners.Append(new FailurePrinter(started.rank()));
    }
    return static_cast<int>(started.world().max(RUN_ALL_TESTS()));
  } catch (const stanley::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return static_cast<int>(error.code);
  }
}
