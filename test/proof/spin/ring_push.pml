// SPDX-License-Identifier: Apache-2.0
// The ring of objpool/ring.h: two threads share CPU 0 and push in restartable
// sequences, one on another CPU pops. The kernel may preempt at any step, which
// sends a sequence back to its beginning.
//
// -DNOT_RESTARTED: preemption leaves the sequence alone. Must be caught.

#define OBJECTS 2
#define ENTRIES 2
#define NONE 9

byte entries[ENTRIES];
byte head, tail;
bool used[OBJECTS];
byte running;  // of CPU 0
bool inside[2], aborted[2];

// A step of a sequence of thread `me`.
#define STEP(statement) \
  atomic { running == me -> if :: aborted[me] -> goto restart :: else fi; statement }

inline Pop() {
  object = NONE;
  h = head;
  do
  :: t = tail;
    if
    :: t == h -> break
    :: else ->
      object = entries[h % ENTRIES];
      if
      :: atomic { head == h -> head = h + 1; assert(!used[object]); used[object] = true; break }
      :: atomic { head != h -> h = head; object = NONE }
      fi
    fi
  od
}

proctype Pusher(byte me) {
  byte t, h, object = me, rounds;
  do
  :: rounds < 2 ->
    rounds++;
    if
    :: object != NONE ->
      used[object] = false;
restart:
      atomic { running == me -> inside[me] = true; aborted[me] = false }
      STEP(t = tail);
      STEP(h = head);
      assert(t - h <= ENTRIES);
      STEP(entries[t % ENTRIES] = object);
      STEP(tail = t + 1; inside[me] = false);
      object = NONE
    :: else
    fi;
    Pop()
  :: else -> break
  od
}

proctype Popper() {
  byte t, h, object, rounds;
  do
  :: rounds < 2 ->
    rounds++;
    Pop();
    // away for good
    if :: object != NONE -> skip :: else fi
  :: else -> break
  od
}

active proctype Scheduler() {
  do
  :: atomic {
#ifndef NOT_RESTARTED
      if :: inside[running] -> aborted[running] = true :: else fi;
#endif
      running = 1 - running
    }
  :: timeout -> break
  od
}

init {
  atomic {
    used[0] = true; used[1] = true;
    run Pusher(0);
    run Pusher(1);
    run Popper()
  }
}
