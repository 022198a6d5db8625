#include "common/threads.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <new>
#include <thread>
#include <vector>

namespace alseg {
namespace {

// One parallel_for call. Workers and the caller draw indices from `next` until it passes n.
struct Job {
  const std::function<void(int64_t)>* body;
  int64_t n;
  int seats;  // workers that may still join, guarded by the pool's mutex
  std::atomic<int64_t> next{0};
  std::atomic<int> active{0};  // workers inside; changed under the pool's mutex
  std::condition_variable idle;

  void drain() {
    for (int64_t i = next.fetch_add(1, std::memory_order_relaxed); i < n;
         i = next.fetch_add(1, std::memory_order_relaxed)) {
      (*body)(i);
    }
  }
};

// Looks at `ready` for some ten microseconds: waking a sleeping thread costs as much as a small kernel.
template <typename Ready>
bool spin_until(const Ready& ready) {
  for (int i = 0; i < 2000; ++i) {
    if (ready()) return true;
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
  }
  return ready();
}

class Pool {
 public:
  void run(int64_t n, int threads, const std::function<void(int64_t)>& body) {
    auto job = std::make_shared<Job>();
    job->body = &body;
    job->n = n;
    job->seats = static_cast<int>(std::min<int64_t>(threads - 1, n - 1));
    {
      std::lock_guard<std::mutex> lock(mutex_);
      while (static_cast<int>(workers_.size()) < job->seats) workers_.emplace_back([this] { work(); });
      leave_callers_cpu();
      jobs_.push_back(job);
      waiting_.store(static_cast<int>(jobs_.size()), std::memory_order_release);
    }
    for (int i = 0; i < job->seats; ++i) wake_.notify_one();
    job->drain();
    std::unique_lock<std::mutex> lock(mutex_);
    jobs_.erase(std::remove(jobs_.begin(), jobs_.end(), job), jobs_.end());
    waiting_.store(static_cast<int>(jobs_.size()), std::memory_order_release);
    if (job->active == 0) return;
    lock.unlock();
    spin_until([&] { return job->active.load(std::memory_order_acquire) == 0; });
    lock.lock();
    job->idle.wait(lock, [&] { return job->active == 0; });
  }

 private:
  // Keeps the workers off the CPU the caller runs on. The scheduler likes to wake a thread on its waker's CPU,
  // where it then waits for the caller to finish: both threads shared one of two idle CPUs for whole calls.
  void leave_callers_cpu() {
    const int cpu = sched_getcpu();
    if (cpu == avoided_ && workers_.size() == placed_) return;
    cpu_set_t others;
    if (cpu < 0 || cpu >= CPU_SETSIZE || sched_getaffinity(0, sizeof others, &others) != 0) return;
    CPU_CLR(cpu, &others);
    if (CPU_COUNT(&others) == 0) return;
    for (std::thread& worker : workers_) pthread_setaffinity_np(worker.native_handle(), sizeof others, &others);
    avoided_ = cpu;
    placed_ = workers_.size();
  }

  void work() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      if (jobs_.empty()) {
        lock.unlock();
        spin_until([&] { return waiting_.load(std::memory_order_acquire) > 0; });
        lock.lock();
        wake_.wait(lock, [&] { return !jobs_.empty(); });
      }
      std::shared_ptr<Job> job = jobs_.front();
      if (--job->seats <= 0) jobs_.pop_front();
      waiting_.store(static_cast<int>(jobs_.size()), std::memory_order_release);
      ++job->active;
      lock.unlock();
      job->drain();
      lock.lock();
      if (--job->active == 0) job->idle.notify_all();
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::shared_ptr<Job>> jobs_;
  std::atomic<int> waiting_{0};  // size of jobs_, for those who look without the mutex
  std::vector<std::thread> workers_;
  int avoided_ = -1;     // the CPU the workers keep off
  size_t placed_ = 0;    // workers that know it
};

// The pool is never destroyed: workers may be asleep in it when the interpreter exits.
std::atomic<Pool*> g_pool{nullptr};
std::mutex g_create;

// A forked child has none of its parent's threads; it starts a pool of its own on first use.
void forget_pool() {
  g_pool.store(nullptr);
  new (&g_create) std::mutex();
}

Pool& pool() {
  Pool* p = g_pool.load(std::memory_order_acquire);
  if (p) return *p;
  std::lock_guard<std::mutex> lock(g_create);
  p = g_pool.load(std::memory_order_acquire);
  if (!p) {
    static const int registered = pthread_atfork(nullptr, nullptr, forget_pool);
    (void)registered;
    p = new Pool();
    g_pool.store(p, std::memory_order_release);
  }
  return *p;
}

}  // namespace

int available_cpus() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max(1u, std::thread::hardware_concurrency());
}

void parallel_for(int64_t n, int num_threads, const std::function<void(int64_t)>& body) {
  if (n <= 0) return;
  const int threads = num_threads > 0 ? num_threads : available_cpus();
  if (threads == 1 || n == 1) {
    for (int64_t i = 0; i < n; ++i) body(i);
    return;
  }
  pool().run(n, threads, body);
}

}  // namespace alseg
