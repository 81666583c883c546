// SPDX-License-Identifier: Apache-2.0
#include "cli/session_server.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace retprobe::cli {
namespace {

using session::Announcement;
using session::AnnouncementKind;
using session::Hello;
using session::HelloKind;

int PeerPid(int socket) {
  ucred credentials = {};
  socklen_t size = sizeof(credentials);
  getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &size);
  return credentials.pid;
}

// One message and the descriptor that came with it. Returns its length.
ssize_t ReceiveMessage(int socket, void* buffer, size_t size, UniqueFd* file) {
  iovec part = {buffer, size};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  const ssize_t length =
      recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  const cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (length >= 0 && header != nullptr && header->cmsg_type == SCM_RIGHTS) {
    int fd;
    memcpy(&fd, CMSG_DATA(header), sizeof(fd));
    *file = UniqueFd(fd);
  }
  return length;
}

}  // namespace

absl::StatusOr<std::unique_ptr<SessionServer>> SessionServer::Create(
    EventLoop* loop, const session::Setup& setup, const Wishes& wishes,
    Judge judge) {
  std::unique_ptr<SessionServer> server(
      new SessionServer(loop, setup, std::move(judge)));
  const auto append = [&](const std::vector<std::string>& texts) {
    const size_t before = server->wishes_.size();
    for (const std::string& text : texts) {
      server->wishes_.append(text.c_str(), text.size() + 1);
    }
    return static_cast<uint32_t>(server->wishes_.size() - before);
  };
  server->setup_.patterns_size = append(wishes.patterns);
  server->setup_.options_size = append({wishes.options});
  server->setup_.callers_size = append(wishes.callers);
  server->setup_.threads_size = append(wishes.threads);
  for (const std::string& pattern : wishes.patterns) {
    server->finished_.patterns.push_back({pattern, 0, false, ""});
  }
  const absl::Status listening = server->Listen();
  if (!listening.ok()) return listening;
  return server;
}

absl::Status SessionServer::Listen() {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  const char* parent = getenv("TMPDIR");
  // A long TMPDIR does not fit a socket's address.
  if (parent == nullptr || *parent == '\0' ||
      strlen(parent) + 32 > sizeof(address.sun_path)) {
    parent = "/tmp";
  }
  std::string name = absl::StrCat(parent, "/retprobe-XXXXXX");
  if (mkdtemp(name.data()) == nullptr) {
    return absl::FailedPreconditionError(absl::StrCat(
        "no session directory in ", parent, ": ", strerror(errno)));
  }
  directory_ = name;
  socket_path_ = absl::StrCat(directory_, "/socket");
  memcpy(address.sun_path, socket_path_.c_str(), socket_path_.size() + 1);
  listener_ = UniqueFd(
      socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!listener_.valid() ||
      bind(listener_.get(), reinterpret_cast<sockaddr*>(&address),
           sizeof(address)) != 0 ||
      listen(listener_.get(), SOMAXCONN) != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat(socket_path_, ": ", strerror(errno)));
  }
  loop_->Add(listener_.get(), [this] { Accept(); });
  return absl::OkStatus();
}

SessionServer::~SessionServer() {
  if (directory_.empty()) return;
  unlink(socket_path_.c_str());
  rmdir(directory_.c_str());
}

void SessionServer::Accept() {
  while (true) {
    UniqueFd socket(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!socket.valid()) return;
    connections_.emplace_back();
    const auto connection = std::prev(connections_.end());
    connection->socket = std::move(socket);
    loop_->Add(connection->socket.get(),
               [this, connection] { Receive(connection); });
  }
}

void SessionServer::Receive(std::list<Connection>::iterator connection) {
  union {
    Hello hello;
    Announcement announcement;
  } message;
  UniqueFd file;
  const ssize_t length = ReceiveMessage(connection->socket.get(), &message,
                                        sizeof(message), &file);
  if (length < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (length == sizeof(Hello) && message.hello.magic == session::kMagic &&
      connection->process == nullptr &&
      HandleHello(*connection, message.hello)) {
    return;
  }
  if (length == sizeof(Announcement) && connection->process != nullptr &&
      message.announcement.magic == session::kMagic) {
    HandleAnnouncement(*connection, message.announcement, std::move(file));
    return;
  }
  // The end, or not one of our agents.
  loop_->Remove(connection->socket.get());
  connections_.erase(connection);
}

bool SessionServer::HandleHello(Connection& connection, const Hello& hello) {
  if (hello.version != session::kVersion) return false;
  if (prepare_ != nullptr) {
    prepare_(setup_);
    prepare_ = nullptr;
  }
  connection.kind = hello.kind;
  connection.process = std::make_unique<Process>();
  connection.process->pid = PeerPid(connection.socket.get());
  connection.process->pidfd = UniqueFd(
      static_cast<int>(syscall(SYS_pidfd_open, connection.process->pid, 0)));
  std::string answer(reinterpret_cast<const char*>(&setup_), sizeof(setup_));
  if (hello.kind == HelloKind::kStart) answer += wishes_;
  return send(connection.socket.get(), answer.data(), answer.size(),
              MSG_NOSIGNAL) == static_cast<ssize_t>(answer.size());
}

void SessionServer::HandleAnnouncement(Connection& connection,
                                       const Announcement& announcement,
                                       UniqueFd file) {
  Process& process = *connection.process;
  switch (announcement.kind) {
    case AnnouncementKind::kSegment:
      if (auto segment = SegmentReader::Open(std::move(file))) {
        process.segments.push_back(std::move(segment));
      }
      break;
    case AnnouncementKind::kRing:
      process.ring = RingReader::Open(std::move(file));
      break;
    case AnnouncementKind::kDone:
      Complete(connection);
      break;
  }
}

void SessionServer::Complete(Connection& connection) {
  session::Verdict verdict = {session::kMagic, 1};
  std::unique_ptr<Process> process = std::move(connection.process);
  if (connection.kind == HelloKind::kLoaded) {
    for (auto& running : processes_) {
      if (running->pid != process->pid) continue;
      std::move(process->segments.begin(), process->segments.end(),
                std::back_inserter(running->segments));
    }
  } else {
    if (connection.kind == HelloKind::kStart) {
      verdict.proceed = judge_(*process) ? 1 : 0;
    }
    AddProcess(std::move(process));
  }
  send(connection.socket.get(), &verdict, sizeof(verdict), MSG_NOSIGNAL);
}

void SessionServer::AddProcess(std::unique_ptr<Process> process) {
  // The same process with a new image: what it did before is final.
  for (auto& running : processes_) {
    if (running->pid == process->pid) {
      Finish(running.get());
      break;
    }
  }
  Process* added = process.get();
  processes_.push_back(std::move(process));
  if (!added->pidfd.valid()) return;
  loop_->Add(added->pidfd.get(), [this, added] { Finish(added); });
}

// Keeps the sums and lets go of the memory. With events ReadEvents does that,
// when it has read them out.
void SessionServer::Finish(Process* process) {
  if (process->pidfd.valid()) loop_->Remove(process->pidfd.get());
  process->pidfd.reset();
  process->ended = true;
  if (process->ring != nullptr) return;
  AddTo(finished_, *process);
  processes_.remove_if([process](const std::unique_ptr<Process>& other) {
    return other.get() == process;
  });
}

bool SessionServer::ReadEvents(const std::function<void(Events&)>& consume) {
  Events events;
  std::vector<session::EventRecord> records;
  std::vector<Process*> finished;
  for (auto& process : processes_) {
    if (process->ring == nullptr) continue;
    records.clear();
    const bool any = process->ring->Read(&records, process->ended);
    for (const session::EventRecord& record : records) {
      events.emplace_back(process.get(), record);
    }
    if (process->ended && !any) finished.push_back(process.get());
  }
  if (!events.empty()) consume(events);
  for (Process* process : finished) {
    process->ring.reset();
    Finish(process);
  }
  return !events.empty();
}

void SessionServer::AddTo(Report& report, const Process& process) {
  ProcessReport summary;
  summary.pid = process.pid;
  for (const auto& segment : process.segments) {
    if (!segment->program().empty()) summary.program = segment->program();
    if (!segment->error().empty()) report.errors.push_back(segment->error());
    if (!segment->warning().empty()) {
      report.warnings.push_back(segment->warning());
    }
    report.instances += segment->instances();
    for (const FunctionReport& function : segment->ReadFunctions()) {
      summary.calls += function.calls;
      summary.missed += function.missed();
      summary.total += function.total;
      report.Add(function);
    }
    for (uint32_t i = 0; i < report.patterns.size(); ++i) {
      if (i >= segment->pattern_count()) break;
      const session::PatternRecord from = segment->pattern(i);
      PatternReport& to = report.patterns[i];
      to.functions = std::max<uint64_t>(to.functions, from.functions);
      to.module_found |= from.modules != 0;
      to.note = to.functions != 0 ? "" : segment->note(from);
    }
  }
  report.processes.push_back(summary);
}

Report SessionServer::Collect() const {
  Report report = finished_;
  for (const auto& process : processes_) AddTo(report, *process);
  return report;
}

}  // namespace retprobe::cli
