// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_CLI_SESSION_SERVER_H_
#define RETPROBE_CLI_SESSION_SERVER_H_

#include <functional>
#include <list>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "agent/session.h"
#include "cli/event_loop.h"
#include "cli/ring_reader.h"
#include "cli/segment_reader.h"
#include "cli/unique_fd.h"

namespace retprobe::cli {

// One image that ran in one process.
struct Process {
  int pid = 0;  // as we see it
  UniqueFd pidfd;
  std::vector<std::unique_ptr<SegmentReader>> segments;
  std::unique_ptr<RingReader> ring;  // null without events
  bool ended = false;
};

// The command's end of a session: gives agents their setup, and keeps what
// they pass on. In a directory of its own that only we may enter, removed at
// the end.
class SessionServer {
 public:
  // Decides, when an image has told what it can probe, whether it may go on.
  using Judge = std::function<bool(const Process& process)>;

  // What is to be probed, as it is sent.
  struct Wishes {
    std::vector<std::string> patterns;
    std::string options;  // what the configuration sets
    std::vector<std::string> callers;
    std::vector<std::string> threads;
  };
  static absl::StatusOr<std::unique_ptr<SessionServer>> Create(
      EventLoop* loop, const session::Setup& setup, const Wishes& wishes,
      Judge judge);
  ~SessionServer();

  const std::string& socket_path() const { return socket_path_; }

  // Called before the first setup is handed out, to fill in what takes time to
  // know.
  void set_prepare(std::function<void(session::Setup&)> prepare) {
    prepare_ = std::move(prepare);
  }

  // What the segments of `process` hold.
  static void AddTo(Report& report, const Process& process);

  // All that is known so far, finished processes included.
  Report Collect() const;

  // Moves the events that have come to `events`, each with the process it is
  // of. Returns whether there were any.
  using Events = std::vector<std::pair<const Process*, session::EventRecord>>;
  bool ReadEvents(const std::function<void(Events&)>& consume);

 private:
  struct Connection {
    UniqueFd socket;
    session::HelloKind kind = session::HelloKind::kStart;
    std::unique_ptr<Process> process;  // what has come so far
  };

  SessionServer(EventLoop* loop, const session::Setup& setup, Judge judge)
      : loop_(loop), setup_(setup), judge_(std::move(judge)) {}
  absl::Status Listen();
  void Accept();
  void Receive(std::list<Connection>::iterator connection);
  bool HandleHello(Connection& connection, const session::Hello& hello);
  void HandleAnnouncement(Connection& connection,
                          const session::Announcement& announcement,
                          UniqueFd file);
  void Complete(Connection& connection);
  void AddProcess(std::unique_ptr<Process> process);
  void Finish(Process* process);
  EventLoop* loop_;
  session::Setup setup_;
  std::string wishes_;  // as sent
  Judge judge_;
  std::function<void(session::Setup&)> prepare_;
  std::string directory_;
  std::string socket_path_;
  UniqueFd listener_;
  std::list<Connection> connections_;
  std::list<std::unique_ptr<Process>> processes_;  // running ones, at least
  Report finished_;
};

}  // namespace retprobe::cli

#endif  // RETPROBE_CLI_SESSION_SERVER_H_
