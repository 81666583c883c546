// SPDX-License-Identifier: Apache-2.0
#include "cli/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "agent/session.h"

namespace retprobe::cli {
namespace {

constexpr char kPreloadVariable[] = "LD_PRELOAD=";

// In the user's order: LD_PRELOAD keeps its place, the session comes last.
std::vector<std::string> EnvironmentWith(const Preload& preload) {
  std::vector<std::string> environment;
  bool placed = false;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    if (!placed && absl::StartsWith(*entry, kPreloadVariable)) {
      const char* others = *entry + strlen(kPreloadVariable);
      environment.push_back(absl::StrCat(kPreloadVariable, preload.agent,
                                         *others == '\0' ? "" : ":", others));
      placed = true;
    } else {
      environment.push_back(*entry);
    }
  }
  if (!placed) {
    environment.push_back(absl::StrCat(kPreloadVariable, preload.agent));
  }
  environment.push_back(
      absl::StrCat(session::kSocketVariable, "=", preload.socket_path));
  return environment;
}

std::vector<char*> Pointers(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

sigset_t HeldSignals() {
  sigset_t set;
  sigemptyset(&set);
  for (int signal : {SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2,
                     SIGALRM, SIGWINCH, SIGPIPE, SIGCHLD}) {
    sigaddset(&set, signal);
  }
  return set;
}

absl::Status ExecError(const Program& program, int error) {
  const std::string what = absl::StrCat(program.path, ": ", strerror(error));
  return error == ENOENT ? absl::NotFoundError(what)
                         : absl::PermissionDeniedError(what);
}

}  // namespace

bool PreloadIsSet() { return getenv("LD_PRELOAD") != nullptr; }

absl::StatusOr<Child> Child::Start(const Program& program,
                                   const Preload& preload) {
  std::vector<std::string> environment = EnvironmentWith(preload);
  std::vector<std::string> arguments = program.arguments;
  const std::vector<char*> envp = Pointers(environment);
  const std::vector<char*> argv = Pointers(arguments);
  int failure[2];
  if (pipe2(failure, O_CLOEXEC) != 0) {
    return absl::InternalError(absl::StrCat("pipe: ", strerror(errno)));
  }
  UniqueFd reader(failure[0]);
  UniqueFd writer(failure[1]);
  const sigset_t held = HeldSignals();
  sigset_t before;
  sigprocmask(SIG_BLOCK, &held, &before);
  // Who ignores SIGCHLD is not told how a child ended.
  const sighandler_t of_children = signal(SIGCHLD, SIG_DFL);
  Child child;
  child.pid_ = fork();
  if (child.pid_ == 0) {
    signal(SIGCHLD, of_children);
    sigprocmask(SIG_SETMASK, &before, nullptr);
    execve(program.path.c_str(), argv.data(), envp.data());
    const int error = errno;
    if (write(writer.get(), &error, sizeof(error)) < 0) _exit(127);
    _exit(127);
  }
  if (child.pid_ < 0) {
    return absl::InternalError(absl::StrCat("fork: ", strerror(errno)));
  }
  writer.reset();
  child.signals_ = UniqueFd(signalfd(-1, &held, SFD_CLOEXEC | SFD_NONBLOCK));
  int error;
  if (read(reader.get(), &error, sizeof(error)) == sizeof(error)) {
    child.Wait();
    return ExecError(program, error);
  }
  return child;
}

void Child::Forward() {
  signalfd_siginfo info;
  while (read(signals_.get(), &info, sizeof(info)) == sizeof(info)) {
    // Positive codes are the kernel's own doing.
    if (info.ssi_code <= 0 && info.ssi_signo != SIGPIPE) {
      kill(pid_, static_cast<int>(info.ssi_signo));
    }
  }
}

bool Child::Ended() const {
  siginfo_t info = {};
  waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT);
  return info.si_pid != 0;
}

int Child::Wait() {
  int status = 0;
  while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  return status;
}

void ExitLike(int wait_status) {
  if (WIFEXITED(wait_status)) _exit(WEXITSTATUS(wait_status));
  const int number = WTERMSIG(wait_status);
  // The core of interest is the program's.
  const rlimit no_core = {0, 0};
  setrlimit(RLIMIT_CORE, &no_core);
  signal(number, SIG_DFL);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, number);
  raise(number);
  sigprocmask(SIG_UNBLOCK, &set, nullptr);
  _exit(128 + number);
}

}  // namespace retprobe::cli
