// SPDX-License-Identifier: Apache-2.0
// What test/programs has g++ compile, and runs: much of libstdc++.
#ifdef MISTAKE
#include <map>
std::map<int> mistake() { return std::map<int, char>{}.undefined(); }
#else
#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <filesystem>
#include <fstream>
#include <functional>
#include <future>
#include <iomanip>
#include <iostream>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <regex>
#include <sstream>
#include <string>
#include <thread>
#include <typeinfo>
#include <unordered_map>
#include <vector>

namespace {

struct Base {
  virtual ~Base() = default;
};
struct Derived : Base {};

class Guard {
 public:
  explicit Guard(int* count) : count_(count) {}
  ~Guard() { ++*count_; }

 private:
  int* count_;
};

void Throw(int depth, int* unwound) {
  Guard guard(unwound);
  if (depth == 0) throw std::runtime_error("at the bottom");
  Throw(depth - 1, unwound);
}

void Exceptions() {
  int unwound = 0, caught = 0;
  for (int i = 0; i < 300; ++i) {
    try {
      try {
        Throw(i % 20, &unwound);
      } catch (const std::exception&) {
        std::throw_with_nested(std::logic_error("outer"));
      }
    } catch (const std::exception& error) {
      try {
        std::rethrow_if_nested(error);
      } catch (...) {
        ++caught;
      }
    }
    // Thrown by libstdc++ itself, through its own frames.
    try {
      (void)std::string("abc").substr(7);
    } catch (const std::out_of_range&) {
      ++caught;
    }
    try {
      (void)std::stoi("x");
    } catch (const std::invalid_argument&) {
      ++caught;
    }
    try {
      Base base;
      (void)dynamic_cast<Derived&>(base);
    } catch (const std::bad_cast&) {
      ++caught;
    }
    std::istringstream in("text");
    in.exceptions(std::ios::failbit);
    try {
      int number;
      in >> number;
    } catch (const std::ios_base::failure&) {
      ++caught;
    }
  }
  std::cout << unwound << ' ' << caught << '\n';
}

void Threads() {
  std::mutex mutex;
  std::condition_variable changed;
  int turn = 0;
  std::atomic<int> sum = 0;
  std::vector<std::thread> threads;
  for (int me = 0; me < 8; ++me) {
    threads.emplace_back([&, me] {
      for (int round = 0; round < 20; ++round) {
        std::unique_lock lock(mutex);
        changed.wait(lock, [&] { return turn % 8 == me; });
        ++turn;
        changed.notify_all();
      }
      std::ostringstream out;
      for (int i = 0; i < 500; ++i) out << i * me << ',';
      sum += static_cast<int>(out.str().size());
    });
  }
  for (std::thread& thread : threads) thread.join();
  auto failing = std::async(std::launch::async, []() -> int {
    throw std::domain_error("from a thread");
  });
  try {
    failing.get();
  } catch (const std::domain_error& error) {
    std::cout << error.what() << ' ' << turn << ' ' << sum << '\n';
  }
}

void Texts() {
  std::map<std::string, int> words;
  std::istringstream in("the quick brown fox jumps over the lazy dog the end");
  for (std::string word; in >> word;) ++words[word];
  for (const auto& [word, count] : words) std::cout << word << count << ' ';
  std::cout << std::fixed << std::setprecision(12) << 1.0 / 3 << ' ' << std::hex
            << 255 << std::dec << ' ' << std::scientific << 1e-9L << '\n';
  const std::regex pattern("([a-z]+)@([a-z]+)\\.org");
  const std::string text = "one@first.org, two@second.org";
  for (std::sregex_iterator i(text.begin(), text.end(), pattern), end; i != end;
       ++i) {
    std::cout << (*i)[2] << '/' << (*i)[1] << '\n';
  }
  std::cout << std::setw(20)
            << std::put_time(
                   std::gmtime(std::make_unique<time_t>(86400 * 365).get()),
                   "%Y-%m-%d %A")
            << '\n';
}

void Files() {
  namespace fs = std::filesystem;
  fs::create_directories("folder/inner");
  std::ofstream("folder/inner/file") << std::string(10000, 'x');
  uintmax_t size = 0;
  for (const auto& entry : fs::recursive_directory_iterator("folder")) {
    if (entry.is_regular_file()) size += entry.file_size();
  }
  std::cout << size << ' ' << fs::remove_all("folder") << '\n';
  try {
    fs::file_size("none");
  } catch (const fs::filesystem_error& error) {
    std::cout << error.code().value() << '\n';
  }
}

void Numbers() {
  std::mt19937_64 generator(42);
  std::normal_distribution<double> normal;
  std::vector<double> values(20000);
  std::generate(values.begin(), values.end(),
                [&] { return normal(generator); });
  std::sort(values.begin(), values.end());
  std::unordered_map<long, std::function<long(long)> > functions;
  for (long i = 0; i < 500; ++i) functions[i] = [i](long n) { return n * i; };
  long sum = 0;
  for (const auto& [key, function] : functions) sum += function(key);
  std::cout << values[100] << ' ' << values[19900] << ' ' << sum << '\n';
}

}  // namespace

int main() {
  Exceptions();
  Threads();
  Texts();
  Files();
  Numbers();
  std::cerr << "to stderr\n";
  return 23;
}
#endif
