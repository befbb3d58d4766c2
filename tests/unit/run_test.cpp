#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "run/directory.hpp"
#include "run/log.hpp"
#include "run/metrics.hpp"
#include "run/record.hpp"
#include "run/stop.hpp"
#include "run/stragglers.hpp"
#include "run/ticker.hpp"
#include "temporary_directory.hpp"

namespace stanley {
namespace {

namespace fs = std::filesystem;

class Run : public TemporaryDirectory {};

void write_text(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, separator);) parts.push_back(part);
  return parts;
}

/// A record with a different, awkward number in every column.
IterationRecord awkward(std::int64_t iteration) {
  IterationRecord record;
  double* columns = &record.energy_data;
  for (int i = 0; i < 45; ++i) columns[i] = std::sin(i + 1.0) * std::pow(10.0, i - 15) / 3.0;
  record.iteration = iteration;
  record.gap_autocorrelation = std::nan("");
  record.energy_noise = -0.0;
  record.loss = std::numeric_limits<double>::infinity();
  record.gradient_norm = std::numeric_limits<double>::denorm_min();
  record.restarts = 3;
  return record;
}

// --- ticker -------------------------------------------------------------------------------------

TEST(Ticker, TicksUntilItGoes) {
  std::atomic<int> ticks = 0;
  {
    const Ticker ticker(
        std::chrono::milliseconds(1), [&] { ++ticks; }, [](const std::exception&) {});
    while (ticks <= 3) std::this_thread::yield();
  }
  const int at_the_end = ticks;
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_EQ(ticks, at_the_end);
}

// --- metrics ------------------------------------------------------------------------------------

static_assert(offsetof(IterationRecord, more) == 46 * sizeof(double), "a column without a test");

TEST_F(Run, NumbersOfTheMetricsReadBackBitForBit) {
  const IterationRecord record = awkward(7);
  const std::vector<std::string> fields = split(to_csv(record), ',');
  ASSERT_EQ(fields.size(), 46U);
  EXPECT_EQ(fields[0], "7");
  const double* columns = &record.energy_data;
  for (std::size_t i = 0; i < 45; ++i) {
    const double value = std::strtod(fields[i + 1].c_str(), nullptr);
    if (std::isnan(columns[i])) {
      EXPECT_TRUE(std::isnan(value));
    } else {
      EXPECT_EQ(std::bit_cast<std::uint64_t>(value), std::bit_cast<std::uint64_t>(columns[i]))
          << fields[i + 1];
    }
  }
}

TEST_F(Run, TheHeadingNamesTheColumnsInOrder) {
  EXPECT_EQ(metrics_heading(),
            "iteration,energy_data,energy_chains,energy_noise,gap,gap_autocorrelation,loss,"
            "gradient_norm,parameter_norm,learning_rate,restart_probability,restarts,"
            "chain_age_mean,chain_age_max,counted_share,state_gradient_q10,state_gradient_q50,"
            "state_gradient_q90,gain_q10,gain_q50,gain_q90,gain_below_one,gain_weighted_drift,"
            "distance_moved,chain_scale,chain_spread,saturation,acceptance_rate,"
            "temperature_settled,temperature_settled_error,temperature_law,temperature_law_error,"
            "step_length,data_score,noise_left,kid_train,kid_test,seconds_chains,seconds_gradient,"
            "seconds_"
            "reduction,seconds_"
            "waiting,seconds_guard,seconds_files,"
            "seconds_evaluation,seconds_iteration,chain_steps_per_second\n");
}

TEST_F(Run, MetricsGoOnAfterACheckpoint) {
  const std::string path = directory_ + "/metrics.csv";
  const auto rows = [](std::int64_t last) {
    std::string text = metrics_heading();
    for (std::int64_t i = 1; i <= last; ++i) text += to_csv(awkward(i));
    return text;
  };
  {
    MetricsFile file(path, 0);
    for (std::int64_t i = 1; i <= 12; ++i) file.append(awkward(i));
    file.sync();
    EXPECT_EQ(read_text(path), rows(12));
  }
  { MetricsFile file(path, 12); }
  EXPECT_EQ(read_text(path), rows(12));
  // Killed while a row was written: the row is not taken for whole, even where it looks so.
  std::ofstream(path, std::ios::app) << "13,0.25";
  { MetricsFile file(path, 20); }
  EXPECT_EQ(read_text(path), rows(12));
  std::ofstream(path, std::ios::app) << "1";
  {
    MetricsFile file(path, 9);
    EXPECT_EQ(read_text(path), rows(9));
    for (std::int64_t i = 10; i <= 14; ++i) file.append(awkward(i));
  }
  EXPECT_EQ(read_text(path), rows(14));
  { MetricsFile file(path, 0); }
  EXPECT_EQ(read_text(path), metrics_heading());
  EXPECT_FALSE(fs::exists(path + ".part"));
}

/// The last line of the text without its end.
std::string last_line(const std::string& text) {
  const std::size_t begin = text.rfind('\n', text.size() - 2);
  return text.substr(begin + 1, text.size() - begin - 2);
}

TEST_F(Run, MetricsOfAnOlderReleaseGetTheirColumnsByName) {
  const std::string path = directory_ + "/metrics.csv";
  std::ofstream(path) << "iteration,gap,energy_data,forgotten\n1,0.5,2.25,7\n2,-1,3,8\n3,4,5,6\n";
  {
    MetricsFile file(path, 2);
    EXPECT_EQ(file.last_kept(), 2);
    file.append(awkward(3));
  }
  // A column that nobody writes any more stays, behind the others.
  std::string expected = metrics_heading();
  expected.insert(expected.size() - 1, ",forgotten");
  for (const auto& [row, forgotten] :
       {std::pair<std::string, std::string>{"1,2.25,nan,nan,0.5", ",7"},
        {"2,3,nan,nan,-1", ",8"}}) {
    expected += row;
    for (std::int64_t i = std::count(row.begin(), row.end(), ','); i < 45; ++i) expected += ",nan";
    expected += forgotten + '\n';
  }
  std::string appended = to_csv(awkward(3));
  appended.insert(appended.size() - 1, ",nan");
  EXPECT_EQ(read_text(path), expected + appended);
  { MetricsFile again(path, 3); }
  EXPECT_EQ(read_text(path), expected + appended);
}

TEST_F(Run, MetricsTakeAndKeepTheColumnsOfATransition) {
  const std::string path = directory_ + "/metrics.csv";
  IterationRecord record = awkward(1);
  record.column("swaps") = 0.25;
  { MetricsFile(path, 0, {"swaps"}).append(record); }
  EXPECT_TRUE(last_line(read_text(path)).ends_with(",0.25"));
  { MetricsFile(path, 1).append(awkward(2)); }  // by another transition
  { MetricsFile(path, 2, {"swaps"}).append(record); }
  const std::string text = read_text(path);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 4);
  EXPECT_TRUE(text.starts_with(metrics_heading({"swaps"})));
  EXPECT_NE(text.find(",0.25\n2,"), std::string::npos);
}

TEST_F(Run, WhatIsNoFileOfMetricsIsRefusedAndStays) {
  const std::string path = directory_ + "/metrics.csv";
  const std::string heading = metrics_heading();
  const std::string row = to_csv(awkward(1)), next = to_csv(awkward(2));
  for (const auto& [text, words] : std::vector<std::pair<std::string, std::string>>{
           {row + next, "first line that does not name its columns"},
           {"hello world\nmy notes\n", "first line"},
           {"iteration,gap,gap\n1,2,3\n", "each once"},
           {heading + row + "2,3\n" + next, "no row of a later iteration in line 3"},
           {heading + row + row + next, "no row of a later iteration in line 3"},
           {heading + std::string(40, '\0') + "\n" + row + next, "in line 2"}}) {
    std::ofstream(path) << text;
    const std::string said = input_output_failure([&] { MetricsFile(path, 2); });
    EXPECT_NE(said.find(words), std::string::npos) << said;
    EXPECT_NE(said.find("move it away"), std::string::npos) << said;
    EXPECT_EQ(read_text(path), text);
  }
  // Behind the rows that count, what a crash left does no harm; nor do other line ends.
  std::ofstream(path) << heading + row + next + std::string(40, '\0') + "\n";
  { MetricsFile file(path, 2); }
  EXPECT_EQ(read_text(path), heading + row + next);
  std::string windows = heading + row;
  windows.insert(windows.size() - 1, "\r");
  windows.insert(heading.size() - 1, "\r");
  std::ofstream(path) << windows;
  { MetricsFile file(path, 1); }
  EXPECT_EQ(read_text(path), heading + row);
}

TEST_F(Run, MetricsThatCannotBeWrittenAreNamed) {
  const std::string path = directory_ + "/missing/metrics.csv";
  EXPECT_NE(input_output_failure([&] { MetricsFile(path, 0); }).find(path), std::string::npos);
}

TEST_F(Run, AFullDiskIsNoticed) {
  // A limit on the size of a file stands for the disk's end: the system reports both alike.
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  rlimit limit = before;
  limit.rlim_cur = 0;
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
  const std::string metrics =
      input_output_failure([&] { MetricsFile(directory_ + "/metrics.csv", 0); });
  const std::string record =
      input_output_failure([&] { replace_file(directory_ + "/run.json", "{}"); });
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, old_handler);
  for (const auto& [said, file] : {std::pair(metrics, "metrics.csv"), {record, "run.json"}}) {
    EXPECT_NE(said.find(file), std::string::npos) << said;
    EXPECT_NE(said.find("File too large"), std::string::npos) << said;
    EXPECT_EQ(said.find("free some space"), std::string::npos) << said;
  }
  EXPECT_FALSE(fs::exists(directory_ + "/run.json"));
}

TEST_F(Run, ARowThatIsCutOffTellsWhy) {
  const std::string path = directory_ + "/metrics.csv";
  MetricsFile file(path, 0);
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  rlimit limit = before;
  limit.rlim_cur = fs::file_size(path) + 7;  // the system takes seven bytes of the row
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
  const std::string said = input_output_failure([&] { file.append(awkward(1)); });
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, old_handler);
  EXPECT_NE(said.find("metrics.csv: a row of the metrics can't be written: File too large"),
            std::string::npos)
      << said;
}

TEST_F(Run, MetricsThatCannotBeReadAreNotReplaced) {
  const std::string path = directory_ + "/metrics.csv";
  fs::create_directory(path);
  const std::string said = input_output_failure([&] { MetricsFile(path, 3); });
  EXPECT_NE(said.find("metrics.csv: the metrics can't be read: Is a directory"), std::string::npos)
      << said;
  EXPECT_TRUE(fs::is_directory(path));
}

TEST_F(Run, NobodysLinkIsFollowed) {
  write_text(directory_ + "/theirs", "precious");
  fs::create_symlink(directory_ + "/theirs", directory_ + "/run.json.part");
  replace_file(directory_ + "/run.json", "{}");
  EXPECT_EQ(read_text(directory_ + "/theirs"), "precious");
  EXPECT_EQ(read_text(directory_ + "/run.json"), "{}");
}

TEST_F(Run, ABrokenRecordIsKeptAside) {
  const std::string path = directory_ + "/run.json";
  for (const char* text :
       {"", "{", "[]", R"({"starts": 3})", R"({"rollbacks": [{"attempt": "x"}]})"}) {
    write_text(path, text);
    RunRecord record(path);
    EXPECT_TRUE(record.was_broken()) << text;
    EXPECT_EQ(record.origin(), "");
    EXPECT_FALSE(record.last_roll_back());
    EXPECT_EQ(read_text(path + ".broken"), text);
  }
  fs::remove(path);
  EXPECT_FALSE(RunRecord(path).was_broken());
}

TEST_F(Run, AMessageThatIsNoUtf8IsRecorded) {
  RunRecord record(directory_ + "/run.json");
  record.stop(
      {.iteration = 3, .code = ExitCode::input_output, .message = "cannot open caf\xe9.h5"});
  EXPECT_NE(read_text(directory_ + "/run.json").find("cannot open caf"), std::string::npos);
}

TEST_F(Run, LostRowsOfTheMetricsAreNoticed) {
  const std::string path = directory_ + "/metrics.csv";
  {
    MetricsFile file(path, 0);
    for (std::int64_t i = 1; i <= 5; ++i) file.append({.iteration = i});
  }
  EXPECT_EQ(MetricsFile(path, 4).last_kept(), 4);
  EXPECT_EQ(MetricsFile(path, 9).last_kept(), 4);  // rows 5 to 9 are gone
  fs::remove(path);
  EXPECT_EQ(MetricsFile(path, 3).last_kept(), 0);
}

TEST(Ticker, WhatATickThrowsIsTold) {
  std::atomic<int> told{0};
  {
    const Ticker ticker(
        std::chrono::milliseconds(1), [] { throw Error(ExitCode::communication, "no"); },
        [&](const std::exception&) { ++told; });
    while (told == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_EQ(told, 1);
}

TEST(Ticker, NotEvenTellingMayFail) {
  std::atomic<int> told{0};
  const auto fail = [&](const std::exception&) {
    ++told;
    throw std::bad_alloc();
  };
  const Ticker ticker(
      std::chrono::milliseconds(1), [] { throw std::bad_alloc(); }, fail);
  while (told == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

// --- files and record ---------------------------------------------------------------------------

TEST_F(Run, RollBacksAreKeptAndTheNewestIsFound) {
  const std::string path = directory_ + "/run.json";
  {
    RunRecord record(path);
    EXPECT_FALSE(record.last_roll_back());
    EXPECT_EQ(record.origin(), "");
    record.start({.iteration = 100, .resumed_from = "elsewhere/iteration-00000100.h5"});
    record.roll_back({1, 250, 200, "the gap"});
    record.roll_back({2, 240, 100, "the norm"});
  }
  RunRecord again(path);
  again.start({.iteration = 100, .resumed_from = "here"});
  EXPECT_EQ(again.origin(), "elsewhere/iteration-00000100.h5");
  const auto last = again.last_roll_back();
  ASSERT_TRUE(last);
  EXPECT_EQ(last->attempt, 2);
  EXPECT_EQ(last->iteration, 240);
  EXPECT_EQ(last->target, 100);
  EXPECT_EQ(last->seen, "the norm");
}

TEST_F(Run, FilesAreReplacedWhole) {
  const std::string path = directory_ + "/text";
  EXPECT_EQ(read_text(path), "");
  replace_file(path, "a long first text");
  replace_file(path, "short");
  EXPECT_EQ(read_text(path), "short");
  EXPECT_FALSE(fs::exists(path + ".part"));
  EXPECT_NE(input_output_failure([&] { replace_file(path + "/below", "x"); }).find(path),
            std::string::npos);
}

TEST_F(Run, SeveralReplaceAFileByUnfinishedOnesOfTheirOwn) {
  const std::string path = directory_ + "/text";
  std::ofstream(path + ".part") << "another's";
  replace_shared_file(path, "mine");
  EXPECT_EQ(read_text(path), "mine");
  EXPECT_EQ(read_text(path + ".part"), "another's");
  EXPECT_EQ(std::distance(fs::directory_iterator(directory_), {}), 2);
  fs::create_directories(path + ".folder/below");
  input_output_failure([&] { replace_shared_file(path + ".folder", "mine"); });
  EXPECT_EQ(std::distance(fs::directory_iterator(directory_), {}), 3);  // nothing unfinished
}

TEST_F(Run, TheRecordHoldsEveryStartAndStop) {
  const std::string path = directory_ + "/run.json";
  const auto json = [&] { return nlohmann::json::parse(read_text(path)); };
  {
    RunRecord record(path);
    record.describe("mnist", 100, {.parameters = 99, .state_shape = {1, 16, 16}});
    record.start({.ranks = 2,
                  .hosts = {"a", "b"},
                  .devices = {"CPU", "CPU"},
                  .precision = "float32",
                  .reduction = "MPI",
                  .engine = "Winograd float32",
                  .libraries = {{"mpi", "Open MPI"}},
                  .threads = 3});
    EXPECT_EQ(json()["verdict"], "running");
    EXPECT_EQ(json()["parameters"], 99);
    EXPECT_FALSE(json().contains("stage"));
    record.change_to({.parameters = 1234, .state_shape = {1, 32, 32}, .stage = "stage 1 of 2"});
    record.stop({.iteration = 40,
                 .code = ExitCode::requeue,
                 .message = "a signal",
                 .asked_by = "run.until"});
    // What fails while a run ends is no verdict of it.
    record.stop({.iteration = 40, .code = ExitCode::bug, .message = "later"});
  }
  EXPECT_EQ(json()["verdict"], "requeue");
  EXPECT_EQ(json()["exit_code"], 85);
  EXPECT_EQ(json()["iteration"], 40);
  {
    RunRecord record(path);
    record.start({.iteration = 40, .resumed_from = "checkpoints/iteration-00000040.h5"});
    EXPECT_EQ(json()["verdict"], "running");
    record.stop({.iteration = 100, .host = "b"});
  }
  const nlohmann::json end = json();
  EXPECT_EQ(end["name"], "mnist");
  EXPECT_EQ(end["parameters"], 1234);
  EXPECT_EQ(end["state_shape"], (std::vector<int>{1, 32, 32}));
  EXPECT_EQ(end["stage"], "stage 1 of 2");
  EXPECT_EQ(end["verdict"], "finished");
  EXPECT_EQ(end["exit_code"], 0);
  ASSERT_EQ(end["starts"].size(), 2U);
  ASSERT_EQ(end["stops"].size(), 2U);
  EXPECT_EQ(end["starts"][0]["ranks"], 2);
  EXPECT_EQ(end["starts"][0]["threads"], 3);
  EXPECT_EQ(end["starts"][0]["hosts"], (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(end["starts"][0]["versions"]["mpi"], "Open MPI");
  EXPECT_EQ(end["starts"][1]["iteration"], 40);
  EXPECT_EQ(end["starts"][1]["resumed_from"], "checkpoints/iteration-00000040.h5");
  EXPECT_EQ(end["stops"][0]["message"], "a signal");
  EXPECT_EQ(end["stops"][0]["asked_by"], "run.until");
  EXPECT_FALSE(end["stops"][0].contains("host"));
  EXPECT_EQ(end["stops"][1]["host"], "b");
  EXPECT_EQ(end["stops"][1]["iteration"], 100);
}

TEST_F(Run, VerdictsHaveNames) {
  EXPECT_EQ(verdict(ExitCode::diverged), "diverged");
  EXPECT_EQ(verdict(ExitCode::input_output), "input_output");
  EXPECT_EQ(verdict(ExitCode::communication), "communication");
  EXPECT_EQ(verdict(ExitCode::configuration), "configuration");
  EXPECT_EQ(verdict(ExitCode::environment), "environment");
  EXPECT_EQ(verdict(ExitCode::bug), "bug");
  EXPECT_EQ(utc_now().size(), 20U);
  EXPECT_EQ(utc_now().back(), 'Z');
}

// --- log ----------------------------------------------------------------------------------------

TEST_F(Run, Durations) {
  EXPECT_EQ(duration_text(0), "0:00");
  EXPECT_EQ(duration_text(59.6), "1:00");
  EXPECT_EQ(duration_text(245), "4:05");
  EXPECT_EQ(duration_text(3599), "59:59");
  EXPECT_EQ(duration_text(3723), "1:02:03");
  EXPECT_EQ(duration_text(360000), "100:00:00");
  EXPECT_EQ(duration_text(std::nan("")), "?");
  EXPECT_EQ(duration_text(-1), "?");
}

TEST_F(Run, TheProgressLineSaysIt) {
  ProgressLine line(100, 1.25e-6);
  IterationRecord record;
  record.energy_data = 1.5;
  record.energy_chains = 1.25;
  record.energy_noise = 9;
  record.gap = -0.25;
  record.gradient_norm = 0.5;
  record.state_gradient_q50 = 0.007;
  record.gain_q50 = 0.75;
  record.gain_below_one = 0.5;
  record.gain_weighted_drift = 0.6;
  record.distance_moved = 2.5;
  record.chain_age_mean = 120;
  record.saturation = 0.427;
  record.temperature_settled = 0.000123;
  record.temperature_settled_error = 4.2e-6;
  record.data_score = 31.25;
  record.seconds_chains = 1.2;
  record.seconds_gradient = 0.2;
  record.seconds_reduction = 0.1;
  record.seconds_waiting = 0.06;
  record.seconds_files = 0.5;
  record.seconds_iteration = 1.5;
  record.chain_steps_per_second = 1000;
  record.iteration = 9;
  line.add(record);
  record.iteration = 10;
  line.add(record);
  const std::string text = line.take();
  for (const char* part :
       {"10/100", "E data 1.500 chains 1.250 noise 9.000 gap -0.2500", "weights 5.00e-01",
        "states 7.00e-03", "gain median 0.75", "50 % < 1", "drift 0.60", "moved 2.50", "age 120",
        "| T 1.25e-06 settled 0.000123 ± 4e-06 law – walls 43 % score 31.2 |", "750 chain steps/s",
        "60 % chains", "10 % gradient", "5 % reduction", "3 % waiting", "25 % files",
        "3:00 left"}) {
    EXPECT_NE(text.find(part), std::string::npos) << '"' << part << "\" in: " << text;
  }
  EXPECT_EQ(text.find("noise left"), std::string::npos);
  // A new interval forgets the old one: 4 s an iteration, 89 of them left.
  record.noise_left = 0.42;
  record.iteration = 11;
  record.seconds_iteration = 4;
  record.seconds_files = 0;
  line.add(record);
  const std::string next = line.take();
  EXPECT_NE(next.find("5:56 left"), std::string::npos) << next;
  EXPECT_NE(next.find("| noise left 42 % |"), std::string::npos) << next;
  EXPECT_NE(next.find(" 0 % files)"), std::string::npos) << next;
  // What an evaluation takes is told where there was one, and counts.
  record.iteration = 12;
  record.seconds_evaluation = 4;
  line.add(record);
  const std::string evaluated = line.take();
  EXPECT_NE(evaluated.find("0 % files, 50 % evaluation"), std::string::npos) << evaluated;
  EXPECT_NE(evaluated.find("11:44 left"), std::string::npos) << evaluated;
}

TEST(Stragglers, AreThoseWhoDoNotWait) {
  const std::vector<std::string> hosts{"a", "a", "b", "b"};
  const auto line = [&](std::vector<double> waited) { return straggler_line(waited, hosts, 100); };
  EXPECT_EQ(line({12, 11, 13, 0}), "straggler rank 3 (b): the other ranks wait 12.0 % of the time");
  EXPECT_EQ(line({12, 14, 1, 0}),
            "straggler ranks 3 (b), 2 (b): the other ranks wait 13.0 % of the time");
  EXPECT_EQ(line({6, 5, 6, 7}),
            "ranks wait 6.0 % of the time, for one or another: no rank is a straggler");
  EXPECT_EQ(line({2, 1.9, 2, 0}), "");  // 1.475 % on average is not worth a line
  EXPECT_EQ(straggler_line(std::vector<double>{5}, {"a"}, 10), "");
  EXPECT_EQ(line({0, 0, 0, 0}), "");
}

TEST(Stragglers, AreNotAllNamedWhereTheyAreMany) {
  std::vector<double> waited(12, 0.0);
  waited[0] = 60;
  const std::string line = straggler_line(waited, std::vector<std::string>(12, "h"), 100);
  EXPECT_EQ(line,
            "straggler ranks 1 (h), 2 (h), 3 (h), 4 (h) and 7 more: the other ranks wait 60.0 % of "
            "the time");
}

TEST_F(Run, TheLogFileIsAppendedTo) {
  const std::string path = directory_ + "/log.txt";
  testing::internal::CaptureStdout();
  for (const char* word : {"first", "second"}) {
    Log log(true);
    log.add_file(path);
    log.info(std::string(word) + " {} %s");
    log.warn("hot");
  }
  EXPECT_NE(testing::internal::GetCapturedStdout().find(" warning: hot\n"), std::string::npos);
  const std::string text = read_text(path);
  EXPECT_LT(text.find("first {} %s"), text.find("second"));
  EXPECT_NE(text.find(" warning hot\n"), std::string::npos);
  EXPECT_NE(text.find(" info first"), std::string::npos);
  Log silent(false);
  silent.add_file(directory_ + "/none.txt");
  silent.error("nobody hears it");
  EXPECT_FALSE(fs::exists(directory_ + "/none.txt"));
  Log log(true);
  EXPECT_NE(input_output_failure([&] { log.add_file(path + "/below"); }).find(path),
            std::string::npos);
}

// --- signals: in processes of their own, since a request to stop stays --------------------------

/// Runs `body` in a child process and returns its exit code.
int exit_code_of_child(const std::function<bool()>& body) {
  const pid_t child = fork();
  if (child == 0) {
    catch_signals();
    _exit(body() ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(RunStop, SignalsAskForAStop) {
  for (const int signal : {SIGUSR1, SIGTERM, SIGINT}) {
    EXPECT_EQ(exit_code_of_child([signal] {
                if (take_request().stop) return false;
                raise(signal);
                const StopRequest first = take_request(), second = take_request();
                return first.stop && !first.checkpoint && second.stop;
              }),
              0)
        << signal;
  }
}

TEST(RunStop, UsrTwoAsksForOneCheckpoint) {
  EXPECT_EQ(exit_code_of_child([] {
              raise(SIGUSR2);
              const StopRequest first = take_request(), second = take_request();
              return first.checkpoint && !first.stop && !second.checkpoint && !second.stop;
            }),
            0);
}

TEST(RunStop, WhoReleasesSignalsEndsByThoseThatCameBefore) {
  for (const int signal : {SIGUSR1, SIGTERM, SIGINT, SIGUSR2}) {
    EXPECT_EXIT(
        {
          catch_signals();
          raise(signal);
          release_signals();
        },
        testing::KilledBySignal(signal), "");
  }
}

TEST(RunStop, ContinueDoesNothing) {
  EXPECT_EQ(exit_code_of_child([] {
              raise(SIGCONT);
              const StopRequest request = take_request();
              return !request.stop && !request.checkpoint;
            }),
            0);
}

std::time_t seconds_now = 0;
std::time_t seconds_of_the_test(std::time_t*) { return seconds_now; }

/// The exit code where USR1 is followed, `seconds` later, by another signal.
int after_usr1(int signal, std::time_t seconds) {
  return exit_code_of_child([=] {
    catch_signals(seconds_of_the_test);
    raise(SIGUSR1);
    seconds_now += seconds;
    raise(signal);
    return take_request().stop;
  });
}

TEST(RunStop, LeavingAtOnceTakesASecondSignalSecondsLater) {
  // Slurm sends USR1 and then TERM within a moment: that is one request.
  for (const int signal : {SIGTERM, SIGINT}) {
    EXPECT_EQ(after_usr1(signal, 0), 0);
    EXPECT_EQ(after_usr1(signal, 4), 0);
    EXPECT_EQ(after_usr1(signal, 5), 85);
    EXPECT_EQ(after_usr1(signal, 3600), 85);
  }
  EXPECT_EQ(after_usr1(SIGUSR1, 3600), 0) << "a warning never ends a run";
}

}  // namespace
}  // namespace stanley
