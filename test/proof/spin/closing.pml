// SPDX-License-Identifier: Apache-2.0
// How a pool that is out of objects is closed, settled, and opened again
// (objpool/closing.h, Ease in pushing.h), on one CPU's magazine: one object in
// its front, or -DARRAY: two in its array. Restartable sequences look at the
// gate first. Whoever reads the state as "closed, settled, no place holds an
// object" returns null: then no object may be idle.
//
// Must be caught:
//   -DNO_FIRST_BARRIER   freezes right after the gate is shut
//   -DNO_GENERATION      declares settled whatever happened to the gate
//   -DSETTLED_EARLY      declares settled before confirming
//   -DMARK_OWN_ONLY      with -DARRAY: when somebody else has confirmed the word
//                        and an object has been taken since, leaves it to him
//                        to mark the place

#define NONE 9
#define GENERATIONS 3

#ifdef ARRAY
#define OBJECTS 2
#else
#define OBJECTS 1
#endif

// The state.
bool open = true, unsettled = true;
byte generation;
bool counted;  // the CPU's place

// The CPU's magazine.
bool frozen, confirmed;
byte number, numbers;
byte count = OBJECTS;

byte shared;   // objects in the CPU's slot
// Pushes that have completed, less pops: one may come before its push has.
short idle = OBJECTS;
bool inside, aborted;

#define STEP(statement) \
  atomic { if :: aborted -> goto restart :: else fi; statement }

// Membarriers restart sequences.
#define BARRIER atomic { if :: inside -> aborted = true :: else fi }

#define NULL_IF_EMPTY \
  if :: !open && !unsettled && !counted -> assert(idle <= 0) :: else fi

inline TakeFrozen(got) {
  atomic {
    if
    :: frozen && confirmed ->
      count--; idle--; got = true;
      if :: count == 0 -> frozen = false; confirmed = false :: else fi
    :: else
    fi
  }
}

inline TakeShared(got) {
  atomic { if :: shared > 0 -> shared--; idle--; got = true :: else fi }
}

inline PushShared() {
  shared++;      // the ring; then the look at the flag
  counted = true;
  atomic { idle++; has = false }
}

// Takes in the open pool what is frozen here, with a state read before.
proctype Cpu() {
  byte w;
  bool was_open, has = false, seen_open, seen_frozen;
  byte rounds;
  do
  :: rounds < 3 ->
    rounds++;
    if
    :: has ->  // push
restart:
      if
      :: has ->
        atomic { inside = true; aborted = false }
        STEP(seen_open = open);
        STEP(w = count; seen_frozen = frozen);
        if
        :: seen_open && !seen_frozen ->
          // the store goes over whatever the word is by now
          atomic { if :: aborted -> goto restart :: else fi;
                   count = w + 1; frozen = false; confirmed = false; idle++;
                   inside = false; has = false }
        :: else -> inside = false; PushShared()
        fi
      :: else ->  // pop
        atomic { inside = true; aborted = false }
        STEP(seen_open = open);
        STEP(w = count; seen_frozen = frozen);
        if
        :: seen_open && !seen_frozen && w > 0 ->
          atomic { if :: aborted -> goto restart :: else fi;
                   count = w - 1; frozen = false; confirmed = false; idle--;
                   inside = false; has = true }
        :: else ->
          inside = false;
          was_open = open;
          if
          :: was_open -> TakeFrozen(has)
          :: else -> atomic { NULL_IF_EMPTY }
          fi;
          if :: !has -> TakeShared(has) :: else fi
        fi
      fi
    :: !has -> goto restart
    fi
  :: else -> break
  od
}

proctype Closer(byte most) {
  byte f, g;
  bool did, has = false, settled;
  byte rounds;
  do
  :: rounds < most ->
    rounds++;
    atomic { NULL_IF_EMPTY }
    if :: counted -> TakeShared(has) :: else fi;
    if :: !has && counted && !open -> TakeFrozen(has) :: else fi;
    if
    :: has -> PushShared()
    :: else ->
      // settle
      atomic {
        if
        :: open && generation < GENERATIONS -> open = false; generation++
        :: else
        fi;
        g = generation; settled = open || !unsettled
      }
      if
      :: settled
      :: else ->
#ifndef NO_FIRST_BARRIER
        BARRIER;
#endif
#ifdef SETTLED_EARLY
        atomic { if :: generation == g && !open -> unsettled = false :: else fi }
#endif
        atomic {
          if
          :: !frozen && count > 0 ->
            frozen = true; confirmed = false; number = numbers; numbers++
          :: else
          fi;
          did = frozen; f = number
        }
        if
        :: did ->
          BARRIER;  // what for: freeze.pml
          // confirm, then mark
          atomic {
            if
            :: frozen && number == f ->
#ifdef MARK_OWN_ONLY
              // somebody else has confirmed it, and it has shrunk since
              if :: confirmed && count < OBJECTS -> did = false :: else fi;
#endif
              confirmed = true
            :: else -> did = false
            fi
          }
          if :: did -> counted = true :: else fi
        :: else
        fi;
        atomic {
          if
#ifdef NO_GENERATION
          :: true -> unsettled = false
#else
          :: generation == g && !open -> unsettled = false
#endif
          :: else
          fi
        }
      fi
    fi
  :: else -> break
  od
}

// Ease, and who clears the flags of empty places (occupancy.pml).
proctype Others() {
  byte rounds;
  do
  :: atomic { !open && generation < GENERATIONS -> open = true; unsettled = true; generation++ }
  :: atomic { rounds < 1 && counted && shared == 0 && !frozen -> counted = false; rounds++ }
  :: timeout -> break
  od
}

init { atomic { run Cpu(); run Closer(2); run Closer(1); run Others() } }
