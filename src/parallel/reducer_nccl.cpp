#ifdef STANLEY_CUDA

#include <nccl.h>

#include <algorithm>
#include <exception>
#include <string>
#include <thread>

#include "parallel/agree.hpp"
#include "parallel/cuda_support.hpp"
#include "parallel/reducer.hpp"
#include "parallel/shard_exchange.hpp"

namespace stanley {
namespace {

using Clock = std::chrono::steady_clock;

/// One NCCL communicator that never blocks: each call and each wait is polled, with a deadline and
/// a look at the asynchronous error, so that a lost rank ends in an Error and not in a hang.
class NcclCommunicator {
 public:
  NcclCommunicator(Communicator& communicator, std::chrono::seconds deadline)
      : deadline_(deadline) {
    ncclUniqueId id{};
    on_first_rank(communicator, [&] {
      const ncclResult_t status = ncclGetUniqueId(&id);
      if (status != ncclSuccess) {
        throw Error(ExitCode::environment,
                    std::string("NCCL could not start: ") + ncclGetErrorString(status));
      }
    });
    communicator.broadcast(std::as_writable_bytes(std::span(&id, 1)), 0);
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    finish(ncclCommInitRankConfig(&handle_, communicator.size(), id, communicator.rank(), &config),
           "ncclCommInitRankConfig");
  }

  NcclCommunicator(const NcclCommunicator&) = delete;
  NcclCommunicator& operator=(const NcclCommunicator&) = delete;

  ~NcclCommunicator() {
    if (handle_ == nullptr) return;
    if (std::uncaught_exceptions() > 0) {
      ncclCommAbort(handle_);
      return;
    }
    try {
      finish(ncclCommFinalize(handle_), "ncclCommFinalize");
      ncclCommDestroy(handle_);
    } catch (const Error&) {
      // finish() has aborted the communicator; the run's results were complete before.
    }
  }

  ncclComm_t handle() const { return handle_; }

  /// Waits until the call that returned `status` is under way.
  void finish(ncclResult_t status, const char* call) {
    if (status == ncclSuccess) return;
    if (status != ncclInProgress) fail(call, ncclGetErrorString(status));
    wait(call, [&] { return asynchronous_status(call) != ncclInProgress; });
  }

  /// Waits until `is_done`, which looks at the device, says so.
  template <typename Function>
  void wait(const char* call, Function is_done) {
    const Clock::time_point start = Clock::now();
    while (!is_done()) {
      asynchronous_status(call);
      const Clock::duration waited = Clock::now() - start;
      if (waited > deadline_) {
        fail(call, "no answer within " + std::to_string(deadline_.count()) + " s");
      }
      // Most reductions end soon: the first moments are spun, to answer at once.
      if (waited > std::chrono::microseconds(200)) {
        std::this_thread::sleep_for(std::chrono::microseconds(50));
      }
    }
  }

 private:
  /// Success or in progress; anything else is thrown.
  ncclResult_t asynchronous_status(const char* call) {
    ncclResult_t state = ncclSuccess;
    const ncclResult_t status = ncclCommGetAsyncError(handle_, &state);
    if (status != ncclSuccess) fail(call, ncclGetErrorString(status));
    if (state != ncclSuccess && state != ncclInProgress) fail(call, ncclGetErrorString(state));
    return state;
  }

  [[noreturn]] void fail(const char* call, const std::string& reason) {
    std::string message = std::string(call) + " failed: " + reason;
    if (handle_ != nullptr) {
      const char* details = ncclGetLastError(handle_);
      if (details != nullptr && *details != '\0') message += std::string(" (") + details + ")";
      ncclCommAbort(handle_);
      handle_ = nullptr;
    }
    throw Error(ExitCode::communication, message);
  }

  std::chrono::seconds deadline_;
  ncclComm_t handle_ = nullptr;
};

class NcclReducer final : public Reducer {
 public:
  NcclReducer(Communicator& communicator, Summation summation, std::chrono::seconds deadline)
      : communicator_(communicator), summation_(summation), nccl_(communicator, deadline) {
    check_cuda(cudaGetDevice(&device_), "cudaGetDevice");
  }

  void reduce(std::span<const float> parts, std::span<float> total) override {
    check_cuda(cudaSetDevice(device_), "cudaSetDevice");
    const std::size_t count = count_parts(parts.size(), total.size());
    if (summation_ == Summation::plain) {
      queue_plain(parts, count, total);
    } else {
      queue_by_shard(parts, count, total);
    }
    stream_.record();
    nccl_.wait("the gradient reduction", [&] { return stream_.is_done(); });
  }

  std::string description() const override {
    int version = 0;
    ncclGetVersion(&version);
    std::string text = "NCCL " + std::to_string(version / 10000) + "." +
                       std::to_string(version / 100 % 100) + "." + std::to_string(version % 100);
    if (summation_ == Summation::by_shard) text += ", ordered by shard";
    return text;
  }

 private:
  void queue_plain(std::span<const float> parts, std::size_t count, std::span<float> total) {
    queue_ordered_sum(parts.data(), count, total.size(), total.data(), total.size(),
                      stream_.handle());
    nccl_.finish(ncclAllReduce(total.data(), total.data(), total.size(), ncclFloat, ncclSum,
                               nccl_.handle(), stream_.handle()),
                 "ncclAllReduce");
  }

  void queue_by_shard(std::span<const float> parts, std::size_t count, std::span<float> total) {
    const ShardExchange exchange = plan_exchange(communicator_, count, total.size());
    for (std::size_t begin = 0; begin < total.size(); begin += exchange.block) {
      const std::size_t length = std::min(exchange.block, total.size() - begin);
      queue_all_to_all(exchange, parts.data() + begin, total.size(), length);
      queue_block_sum(exchange, total.subspan(begin, length));
    }
  }

  /// Messages between two ranks keep their order, so a slice of each part can go by itself.
  void queue_all_to_all(const ShardExchange& exchange, const float* block, std::size_t stride,
                        std::size_t length) {
    const auto rank = static_cast<std::size_t>(communicator_.rank());
    const std::size_t mine = exchange.slice_size(length, rank);
    float* next = received_.at_least(exchange.total_parts * mine);
    nccl_.finish(ncclGroupStart(), "ncclGroupStart");
    for (std::size_t other = 0; other < exchange.ranks(); ++other) {
      const int peer = static_cast<int>(other);
      const std::size_t size = exchange.slice_size(length, other);
      for (std::size_t part = 0; size > 0 && part < exchange.parts[rank]; ++part) {
        const float* slice = block + part * stride + exchange.slice_begin(length, other);
        nccl_.finish(ncclSend(slice, size, ncclFloat, peer, nccl_.handle(), stream_.handle()),
                     "ncclSend");
      }
      for (std::size_t part = 0; mine > 0 && part < exchange.parts[other]; ++part) {
        nccl_.finish(ncclRecv(next, mine, ncclFloat, peer, nccl_.handle(), stream_.handle()),
                     "ncclRecv");
        next += mine;
      }
    }
    nccl_.finish(ncclGroupEnd(), "ncclGroupEnd");
  }

  /// Slices are padded to one length, as ncclAllGather wants them.
  void queue_block_sum(const ShardExchange& exchange, std::span<float> block) {
    const auto rank = static_cast<std::size_t>(communicator_.rank());
    const std::size_t slice = exchange.slice(block.size());
    const std::size_t mine = exchange.slice_size(block.size(), rank);
    float* gathered = gathered_.at_least(slice * exchange.ranks());
    float* sum = gathered + rank * slice;
    queue_ordered_sum(received_.at_least(0), exchange.total_parts, mine, sum, mine,
                      stream_.handle());
    nccl_.finish(ncclAllGather(sum, gathered, slice, ncclFloat, nccl_.handle(), stream_.handle()),
                 "ncclAllGather");
    check_cuda(cudaMemcpyAsync(block.data(), gathered, block.size_bytes(), cudaMemcpyDeviceToDevice,
                               stream_.handle()),
               "cudaMemcpyAsync");
  }

  // The NCCL communicator ends first (it stands last), while the stream and the buffers are there.
  Communicator& communicator_;
  Summation summation_;
  int device_ = 0;
  CudaStream stream_;
  DeviceBuffer received_, gathered_;
  NcclCommunicator nccl_;
};

/// For ranks that share a GPU, where NCCL refuses to work.
class StagedReducer final : public Reducer {
 public:
  StagedReducer(Communicator& communicator, Summation summation)
      : host_(make_reducer(communicator, Transport::mpi, summation)) {
    check_cuda(cudaGetDevice(&device_), "cudaGetDevice");
  }

  void reduce(std::span<const float> parts, std::span<float> total) override {
    check_cuda(cudaSetDevice(device_), "cudaSetDevice");
    float* host_parts = parts_.at_least(parts.size());
    float* host_total = total_.at_least(total.size());
    copy(host_parts, parts.data(), parts.size_bytes(), cudaMemcpyDeviceToHost);
    host_->reduce({host_parts, parts.size()}, {host_total, total.size()});
    copy(total.data(), host_total, total.size_bytes(), cudaMemcpyHostToDevice);
  }

  std::string description() const override { return host_->description() + ", through the host"; }

 private:
  void copy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind direction) {
    check_cuda(cudaMemcpyAsync(to, from, bytes, direction, stream_.handle()), "cudaMemcpyAsync");
    check_cuda(cudaStreamSynchronize(stream_.handle()), "cudaStreamSynchronize");
  }

  std::unique_ptr<Reducer> host_;
  CudaStream stream_;
  PinnedBuffer parts_, total_;
  int device_ = 0;
};

}  // namespace

std::unique_ptr<Reducer> make_device_reducer(Communicator& communicator, Transport transport,
                                             Summation summation, std::chrono::seconds deadline) {
  if (transport == Transport::nccl) {
    return std::make_unique<NcclReducer>(communicator, summation, deadline);
  }
  return std::make_unique<StagedReducer>(communicator, summation);
}

}  // namespace stanley

#else  // a build without CUDA

#include "parallel/reducer.hpp"

namespace stanley {

std::unique_ptr<Reducer> make_device_reducer(Communicator&, Transport, Summation,
                                             std::chrono::seconds) {
  throw Error(ExitCode::environment,
              "gradients on a GPU can't be reduced: this binary was built without CUDA; build the "
              "`cuda` preset, or set run.device: cpu");
}

}  // namespace stanley

#endif  // STANLEY_CUDA
