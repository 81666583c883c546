// SPDX-License-Identifier: Apache-2.0
// One place's flag and the count of places (objpool/occupancy.h), with pushes
// by a CPU's restartable sequences: plain stores, which wait in its store
// buffer while it goes on to read the flag. Two threads pop, and clear the flag
// in two steps with a membarrier between. Whoever reads the count as zero
// returns null: then no push that has completed may be left.
//
// Must be caught:
//   -DNO_BARRIER  looks at the place right after the first step
//   -DONE_STEP    clears the flag of a place that looks empty, and counts down
//   -DCOUNT_LATE  sets the flag before it counts

#define PUSHES 3
#define UNCOUNTED 0
#define COUNTED 1
#define CLEARING 2  // + number

byte flag;
byte count;
byte tail, head;  // of the ring
byte completed;   // pushes
bool buffered;    // the CPU's last store of the tail
byte buffered_tail;

#define DRAIN if :: buffered -> tail = buffered_tail; buffered = false :: else fi

active proctype Pusher() {
  byte f, pushes;
  bool add;
  do
  :: pushes < PUSHES ->
    pushes++;
    atomic { !buffered -> buffered_tail = pushes; buffered = true }
    // mark
    f = flag;
    do
    :: f == COUNTED -> break
    :: else ->
      add = (f == UNCOUNTED);
#ifndef COUNT_LATE
      // locked instructions drain the buffer
      if :: add -> atomic { DRAIN; count++ } :: else fi;
#endif
      if
      :: atomic { flag == f -> DRAIN; flag = COUNTED }
#ifdef COUNT_LATE
        if :: add -> count++ :: else fi;
#endif
        break
      :: atomic { flag != f -> DRAIN; f = flag }
#ifndef COUNT_LATE
        if :: add -> count-- :: else fi
#endif
      fi
    od;
    completed = pushes
  :: else -> break
  od
}

active proctype Buffer() {
  do
  :: atomic { buffered -> DRAIN }
  :: timeout -> break
  od
}

active [2] proctype Searcher() {
  byte h, f, rounds;
  bool bare;
  do
  :: rounds < 3 ->
    rounds++;
    // pop
    atomic { if :: count == 0 -> assert(head >= completed) :: else fi }
    h = head;
    atomic { if :: h == head && h < tail -> head = h + 1 :: else fi }
    // clear
    f = flag;
#ifdef ONE_STEP
    bare = (head >= tail);
    if
    :: f == COUNTED && bare ->
      if
      :: atomic { flag == f -> flag = UNCOUNTED; bare = true }
      :: atomic { flag != f -> bare = false }
      fi;
      if :: bare -> atomic { assert(count > 0); count-- } :: else fi
    :: else
    fi
#else
    if
    :: f != UNCOUNTED ->
      if
      :: atomic { flag == f -> f = CLEARING + 2 * rounds + (_pid & 1); flag = f }
#ifndef NO_BARRIER
        atomic { DRAIN }
#endif
        h = head;
        bare = (h >= tail);
        if
        :: atomic { flag == f -> flag = (bare -> UNCOUNTED : COUNTED) }
          if :: bare -> atomic { assert(count > 0); count-- } :: else fi
        :: atomic { flag != f -> skip }
        fi
      :: atomic { flag != f -> skip }
      fi
    :: else
    fi
#endif
  :: else -> break
  od
}
