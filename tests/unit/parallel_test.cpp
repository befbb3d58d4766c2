#include <gtest/gtest.h>

#include <functional>
#include <stdexcept>

#include "parallel/agree.hpp"
#include "parallel/device.hpp"
#include "parallel/launcher.hpp"
#include "parallel/mpi_handle.hpp"
#include "parallel/reducer.hpp"
#include "parallel/shard_exchange.hpp"
#include "parallel/threads.hpp"

namespace stanley {
namespace {

std::string message_of(const std::function<void()>& step, ExitCode expected) {
  try {
    step();
  } catch (const Error& error) {
    EXPECT_EQ(error.code, expected);
    return error.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return "";
}

TEST(LocalCommunicator, IsAWorldOfOne) {
  const auto local = make_local_communicator();
  EXPECT_EQ(local->rank(), 0);
  EXPECT_EQ(local->size(), 1);
  std::vector<double> values{1.5, 2.5};
  local->sum(std::span(values));
  EXPECT_EQ(values, (std::vector<double>{1.5, 2.5}));
  EXPECT_EQ(local->broadcast(std::string("text"), 0), "text");
  EXPECT_EQ(local->all_gather("text"), std::vector<std::string>{"text"});
  EXPECT_EQ(local->max(-1.0), -1.0);
  const std::vector<float> sent{1, 2, 3};
  const std::vector<int> counts{3};
  std::vector<float> received(3);
  local->all_to_all(sent, counts, received, counts, Communicator::Exchange::pairwise);
  EXPECT_EQ(received, sent);
  EXPECT_EQ(local->duplicate()->size(), 1);
  EXPECT_EQ(mpi_communicator(*local), MPI_COMM_NULL);
  int started = 1;
  MPI_Initialized(&started);
  EXPECT_EQ(started, 0);
}

TEST(LocalCommunicatorDeathTest, AbortEndsWithTheCode) {
  const auto local = make_local_communicator();
  EXPECT_EXIT(local->abort(ExitCode::diverged), testing::ExitedWithCode(4), "");
}

TEST(Agree, KeepsTheErrorAndNamesBugs) {
  const auto local = make_local_communicator();
  EXPECT_NO_THROW(agree(*local, [] {}));
  EXPECT_EQ(message_of(
                [&] { agree(*local, [] { throw Error(ExitCode::input_output, "no such file"); }); },
                ExitCode::input_output),
            "no such file");
  const std::string bug =
      message_of([&] { agree(*local, [] { throw std::logic_error("oh"); }); }, ExitCode::bug);
  EXPECT_TRUE(bug.starts_with("oh; please report this bug to ")) << bug;
  for (const char* needed : {"the command line", "stanley --version", "log.txt"}) {
    EXPECT_NE(bug.find(needed), std::string::npos) << bug;
  }
  EXPECT_FALSE(message_of([&] { agree(*local, [] { throw 1; }); }, ExitCode::bug).empty());
}

TEST(Reducer, AloneBothWaysSumInOrder) {
  const auto local = make_local_communicator();
  const std::vector<float> parts{1e8f, 1, -1e8f, 2, 1, 3};
  const std::vector<float> expected{(1e8f + -1e8f) + 1.0f, 1.0f + 2.0f + 3.0f};
  for (const Summation summation : {Summation::plain, Summation::by_shard}) {
    std::vector<float> total(2, -7.0f);
    make_reducer(*local, Transport::mpi, summation)->reduce(parts, total);
    EXPECT_EQ(total, expected);
  }
  std::vector<float> same{1, 2};
  make_reducer(*local, Transport::mpi, Summation::plain)->reduce(same, same);
  EXPECT_EQ(same, (std::vector<float>{1, 2}));
}

TEST(Reducer, RefusesPartsThatDontDivide) {
  const auto local = make_local_communicator();
  const auto reducer = make_reducer(*local, Transport::mpi, Summation::plain);
  const std::vector<float> parts(5);
  std::vector<float> total(2);
  message_of([&] { reducer->reduce(parts, total); }, ExitCode::bug);
}

#ifndef STANLEY_CUDA
TEST(Reducer, SaysThatCudaIsNotBuiltIn) {
  const auto local = make_local_communicator();
  for (const Transport transport : {Transport::nccl, Transport::mpi_from_device}) {
    const std::string message = message_of(
        [&] { make_reducer(*local, transport, Summation::plain); }, ExitCode::environment);
    EXPECT_NE(message.find("built without CUDA"), std::string::npos);
  }
}
#endif

TEST(ShardExchange, SlicesCoverEachBlockOnce) {
  for (std::size_t ranks = 1; ranks <= 5; ++ranks) {
    const ShardExchange exchange{std::vector<std::size_t>(ranks, 1), ranks, 100};
    for (std::size_t length = 0; length < 30; ++length) {
      std::size_t covered = 0;
      for (std::size_t rank = 0; rank < ranks; ++rank) {
        EXPECT_EQ(exchange.slice_begin(length, rank), covered);
        EXPECT_LE(exchange.slice_size(length, rank), exchange.slice(length));
        covered += exchange.slice_size(length, rank);
      }
      EXPECT_EQ(covered, length);
    }
  }
}

TEST(Launcher, NoneInAPlainShellNorInABatchScript) {
  EXPECT_FALSE(launcher_from({{"HOME", "/root"}}).connects);
  const Launcher batch = launcher_from(
      {{"SLURM_JOB_ID", "7"}, {"SLURM_NTASKS", "4"}, {"SLURM_PROCID", "0"}, {"SLURM_NPROCS", "4"}});
  EXPECT_FALSE(batch.connects);
  EXPECT_EQ(batch.ranks, 1);
  EXPECT_NO_THROW(check_launcher(batch, 1, "MPI"));
}

TEST(Launcher, AStepOfOneWithoutProcessManagerRunsAlone) {
  const Launcher shell = launcher_from({{"SLURM_JOB_ID", "7"}, {"SLURM_STEP_NUM_TASKS", "1"}});
  EXPECT_FALSE(shell.connects);
  EXPECT_NO_THROW(check_launcher(shell, 1, "MPI"));
}

TEST(Launcher, KnowsMpirunAndSrun) {
  const Launcher mpirun = launcher_from({{"OMPI_COMM_WORLD_SIZE", "4"},
                                         {"OMPI_COMM_WORLD_RANK", "3"},
                                         {"PMIX_RANK", "3"},
                                         // of the helper that mpirun started on this node
                                         {"SLURM_STEP_NUM_TASKS", "1"},
                                         {"SLURM_PROCID", "0"}});
  EXPECT_TRUE(mpirun.connects);
  EXPECT_EQ(mpirun.ranks, 4);
  EXPECT_EQ(mpirun.rank, 3);
  EXPECT_NO_THROW(check_launcher(mpirun, 4, "MPI"));

  const Launcher srun = launcher_from({{"PMIX_RANK", "1"},
                                       {"PMIX_NAMESPACE", "slurm.pmix.7.0"},
                                       {"SLURM_STEP_NUM_TASKS", "2"},
                                       {"SLURM_PROCID", "1"}});
  EXPECT_TRUE(srun.connects);
  EXPECT_EQ(srun.ranks, 2);
  EXPECT_EQ(srun.rank, 1);
}

TEST(Launcher, KnowsTheLaunchersOfOthers) {
  struct Case {
    Environment environment;
    int ranks, rank;
  };
  // What they set was read in their sources, or seen where they ran.
  const Case cases[] = {
      {{{"PMI_SIZE", "4"}, {"PMI_RANK", "2"}, {"PMI_FD", "6"}, {"MPI_LOCALNRANKS", "4"}}, 4, 2},
      {{{"PMI_SIZE", "4"}, {"PMI_ID", "2"}, {"PMI_PORT", "n1:99"}}, 4, 2},  // mpirun -pmi-port
      {{{"MV2_COMM_WORLD_SIZE", "4"}, {"MV2_COMM_WORLD_RANK", "2"}}, 4, 2},
      // srun --mpi=pmi2, and cray_shasta, whose port is there only with several nodes
      {{{"PMI_SIZE", "4"},
        {"PMI_RANK", "2"},
        {"PMI_FD", "11"},
        {"PMI_JOBID", "7.0"},
        {"SLURM_STEP_NUM_TASKS", "4"},
        {"SLURM_PROCID", "2"}},
       4,
       2},
      {{{"PALS_RANKID", "2"},
        {"PALS_APID", "7.0"},
        {"PALS_NODEID", "1"},
        {"SLURM_STEP_NUM_TASKS", "4"},
        {"SLURM_PROCID", "2"}},
       4,
       2},
      {{{"PALS_RANKID", "2"}, {"PMI_CONTROL_PORT", "10999"}}, 1, 2},  // mpiexec of PALS: no size
      // Flux inside a Slurm job of two nodes, whose variables its ranks inherit
      {{{"FLUX_JOB_SIZE", "4"},
        {"FLUX_TASK_RANK", "2"},
        {"PMI_SIZE", "4"},
        {"PMI_RANK", "2"},
        {"PMI_FD", "20"},
        {"SLURM_STEP_NUM_TASKS", "2"},
        {"SLURM_PROCID", "1"}},
       4,
       2},
  };
  for (const Case& one : cases) {
    const Launcher launcher = launcher_from(one.environment);
    EXPECT_TRUE(launcher.connects) << launcher.evidence;
    EXPECT_EQ(launcher.ranks, one.ranks) << launcher.evidence;
    EXPECT_EQ(launcher.rank, one.rank) << launcher.evidence;
  }
  // Libraries of Flux are named to every process below it, and connect none.
  EXPECT_FALSE(launcher_from({{"FLUX_PMI_LIBRARY_PATH", "/lib"}, {"FLUX_URI", "local"}}).connects);
  EXPECT_FALSE(launcher_from({{"FLUX_JOB_SIZE", "4"}, {"FLUX_TASK_RANK", "2"}}).connects);
}

TEST(Launcher, TheUserKnowsBetter) {
  const Environment unknown = {{"SLURM_STEP_NUM_TASKS", "8"}, {"SLURM_PROCID", "5"}};
  const auto with = [&](const char* wish) {
    Environment environment = unknown;
    environment["STANLEY_MPI"] = wish;
    return environment;
  };
  const Launcher started = launcher_from(with("yes"));
  EXPECT_TRUE(started.connects);
  EXPECT_EQ(started.ranks, 8);
  EXPECT_EQ(started.rank, 5);
  const Launcher alone = launcher_from(with("no"));
  EXPECT_FALSE(alone.connects);
  EXPECT_NO_THROW(check_launcher(alone, 1, "MPI"));
  EXPECT_FALSE(launcher_from({{"PMI_RANK", "0"}, {"STANLEY_MPI", "no"}}).connects);
  EXPECT_FALSE(launcher_from(with("")).connects);
  const std::string message =
      message_of([&] { launcher_from(with("perhaps")); }, ExitCode::environment);
  for (const char* part : {"STANLEY_MPI=perhaps", "yes", "no"}) {
    EXPECT_NE(message.find(part), std::string::npos) << message;
  }
  EXPECT_EQ(launcher_seen(with("perhaps")).rank, 5);  // so that one rank says it
}

TEST(Launcher, UnconnectedRanksAreRefused) {
  const Environment environments[] = {
      {{"SLURM_STEP_NUM_TASKS", "8"}, {"SLURM_PROCID", "5"}},
      {{"OMPI_COMM_WORLD_SIZE", "8"}, {"OMPI_COMM_WORLD_RANK", "5"}},
      {{"PMI_SIZE", "8"}, {"PMI_RANK", "5"}},
      {{"FLUX_JOB_SIZE", "8"}, {"FLUX_TASK_RANK", "5"}},
  };
  for (const Environment& environment : environments) {
    const Launcher launcher = launcher_from(environment);
    EXPECT_EQ(launcher.rank, 5);
    const std::string message =
        message_of([&] { check_launcher(launcher, 1, "MPICH Version: 4"); }, ExitCode::environment);
    for (const char* part :
         {"srun --mpi=pmix", "mpirun", "8 ranks", "=8", "=5", "MPICH Version: 4"}) {
      EXPECT_NE(message.find(part), std::string::npos) << message;
    }
  }
}

TEST(Launcher, ASecondRankShowsThatThereAreSeveral) {
  // PALS' mpiexec tells no size.
  const Launcher first = launcher_from({{"PALS_RANKID", "0"}, {"PALS_APID", "7"}});
  EXPECT_NO_THROW(check_launcher(first, 1, "Open MPI"));
  const Launcher second = launcher_from({{"PALS_RANKID", "1"}, {"PALS_APID", "7"}});
  const std::string message =
      message_of([&] { check_launcher(second, 1, "Open MPI"); }, ExitCode::environment);
  EXPECT_NE(message.find("several ranks"), std::string::npos) << message;
  EXPECT_NO_THROW(check_launcher(second, 2, "Open MPI"));
}

TEST(Launcher, NoAdviceThatWasTaken) {
  const auto told = [](const Environment& environment) {
    return message_of([&] { check_launcher(launcher_from(environment), 1, "Open MPI"); },
                      ExitCode::environment);
  };
  const Environment slurm = {{"SLURM_STEP_NUM_TASKS", "2"}};
  EXPECT_NE(told(slurm).find("=yes"), std::string::npos);
  EXPECT_EQ(told({{"SLURM_STEP_NUM_TASKS", "2"}, {"STANLEY_MPI", "yes"}}).find("=yes starts"),
            std::string::npos);
}

TEST(Launcher, NonsenseIsNoNumber) {
  EXPECT_EQ(launcher_from({{"PMI_SIZE", "2x"}}).ranks, 1);
  EXPECT_FALSE(launcher_from({{"PMI_FD", ""}}).connects);
  EXPECT_EQ(launcher_from({{"SLURM_STEP_NUM_TASKS", "many"}}).ranks, 1);
  EXPECT_EQ(launcher_from({{"OMPI_COMM_WORLD_SIZE", "-3"}}).ranks, 1);
}

TEST(Device, AllocationIsRecognised) {
  EXPECT_EQ(gpu_allocation({}), "");
  EXPECT_EQ(gpu_allocation({{"CUDA_VISIBLE_DEVICES", ""}}), "");
  EXPECT_EQ(gpu_allocation({{"CUDA_VISIBLE_DEVICES", "-1"}}), "");
  EXPECT_EQ(gpu_allocation({{"CUDA_VISIBLE_DEVICES", "NoDevFiles"}}), "");
  EXPECT_EQ(gpu_allocation({{"SLURM_GPUS_ON_NODE", "0"}}), "");
  EXPECT_EQ(gpu_allocation({{"SLURM_JOB_GPUS", "0"}}), "SLURM_JOB_GPUS=0");
  EXPECT_EQ(gpu_allocation({{"CUDA_VISIBLE_DEVICES", "2,3"}}), "CUDA_VISIBLE_DEVICES=2,3");
  EXPECT_EQ(gpu_allocation({{"SLURM_GPUS", "gpu:4"}}), "SLURM_GPUS=gpu:4");
}

TEST(Device, AutomaticNeverHidesAGpuThatShouldBeThere) {
  const CudaSight nothing{{}, false, "no NVIDIA driver was found"};
  const CudaSight old_driver{{}, true, "the NVIDIA driver is too old"};
  const CudaSight two{{"GPU-a", "GPU-b"}, false, ""};
  const std::string none;
  const std::string given = "SLURM_JOB_GPUS=0";
  using enum DeviceKind;
  EXPECT_EQ(decide_kind(automatic, nothing, none), cpu);
  EXPECT_EQ(decide_kind(automatic, two, none), cuda);
  EXPECT_EQ(decide_kind(cpu, two, given), cpu);
  EXPECT_EQ(decide_kind(cuda, two, given), cuda);
  const auto refuse = [](DeviceKind kind, const CudaSight& sight, const std::string& allocation) {
    return message_of([&] { decide_kind(kind, sight, allocation); }, ExitCode::environment);
  };
  EXPECT_NE(refuse(cuda, nothing, none).find("no NVIDIA driver"), std::string::npos);
  EXPECT_NE(refuse(automatic, nothing, given).find(given), std::string::npos);
  EXPECT_NE(refuse(automatic, old_driver, none).find("too old"), std::string::npos);
}

TEST(Device, RanksThatShareAGpuGoThroughTheHost) {
  EXPECT_EQ(transport_for({}), Transport::mpi);
  EXPECT_EQ(transport_for({DeviceKind::cuda, 0, "", "", false}), Transport::nccl);
  EXPECT_EQ(transport_for({DeviceKind::cuda, 0, "", "", true}), Transport::mpi_from_device);
}

TEST(Device, RanksShareOutTheGpusThatTheySee) {
  using Seen = std::vector<std::vector<std::string>>;
  using Shares = std::vector<int>;
  EXPECT_EQ(share_out(Seen(4, {"a", "b", "c", "d"})), (Shares{0, 1, 2, 3}));  // --gpus-per-node
  EXPECT_EQ(share_out({{"a"}, {"b"}, {"c"}}), (Shares{0, 0, 0}));             // --gpus-per-task=1
  EXPECT_EQ(share_out({{"a", "b"}, {"c", "d"}}), (Shares{0, 0}));             // --gpus-per-task=2
  EXPECT_EQ(share_out({{"b", "a"}, {"a", "b"}}), (Shares{0, 0}));             // each its order
  EXPECT_EQ(share_out({{"a", "b"}, {"c", "d"}, {"a", "b"}, {"c", "d"}}),      // by socket, and
            (Shares{0, 0, 1, 1}));                                            // ranks in turn
  EXPECT_EQ(share_out(Seen(5, {"a", "b"})), (Shares{0, 1, 0, 1, 0}));         // too few
}

TEST(Threads, SlurmsJobCapsThem) {
  EXPECT_EQ(slurm_cores({}, 2), std::nullopt);
  EXPECT_EQ(slurm_cores({{"SLURM_CPUS_ON_NODE", "8"}}, 2), 4);
  EXPECT_EQ(slurm_cores({{"SLURM_CPUS_ON_NODE", "8"}, {"SLURM_CPUS_PER_TASK", "3"}}, 2), 3);
}

TEST(Threads, CoresAreSharedFairly) {
  EXPECT_EQ(core_share({{0, 1, 2, 3}}, 0), 4);
  EXPECT_EQ(core_share({{0, 1, 2, 3}, {0, 1, 2, 3}}, 1), 2);
  EXPECT_EQ(core_share({{0, 1}, {2, 3}}, 1), 2);  // bound: a mask of one's own
  EXPECT_EQ(core_share({{0}, {0}, {0}}, 2), 1);   // more ranks than cores
  EXPECT_EQ(core_share({{0, 1, 2}, {0, 1, 2}, {0, 1, 2}}, 0), 1);
  EXPECT_EQ(core_share({{0, 1, 2, 3}, {2, 3}}, 0), 3);
}

TEST(Threads, ContainerQuotas) {
  EXPECT_EQ(quota_cores(""), std::nullopt);
  EXPECT_EQ(quota_cores("max 100000"), std::nullopt);
  EXPECT_EQ(quota_cores("200000 100000"), 2);
  EXPECT_EQ(quota_cores("50000 100000"), 1);
}

}  // namespace
}  // namespace stanley
