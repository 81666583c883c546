// SPDX-License-Identifier: Apache-2.0
// A magazine's count and array (objpool/closing.h): its CPU changes both in
// restartable sequences, with a store buffer as x86 has one, while two threads
// elsewhere freeze, confirm and take. No object may be had by two.
//
// Must be caught:
//   -DNO_BARRIER        confirms at once
//   -DTAKE_UNCONFIRMED  takes what somebody else has frozen
//   -DONE_NUMBER        all freezes have the same number

#define OBJECTS 2
#define NONE 9
#define FROZEN 128
#define CONFIRMED 64
#define COUNT(word) ((word) & 3)
#define NUMBERS 5  // the number is at bits 2 .. 5

byte word;        // count, or frozen
byte objects[2];  // the array
byte numbers;     // freezes so far
bool used[OBJECTS];
bool shared[OBJECTS];  // where all can take
bool inside, aborted;  // of the CPU's sequence

// The CPU's store buffer: at most an entry, then the count.
bool has_entry, has_word;
byte entry_at, entry, buffered;

#define DRAIN_ENTRY if :: has_entry -> objects[entry_at] = entry; has_entry = false :: else fi
#define DRAIN_WORD if :: has_word -> word = buffered; has_word = false :: else fi

inline Barrier() {
  atomic {
    DRAIN_ENTRY; DRAIN_WORD;
    if :: inside -> aborted = true :: else fi
  }
}

inline Take(object) {
  assert(!used[object]);
  used[object] = true
}

#define STEP(statement) \
  atomic { if :: aborted -> goto restart :: else fi; statement }

active proctype Cpu() {
  byte w, o, held = NONE, rounds;
  do
  :: rounds < 3 ->
    rounds++;
restart:
    atomic { inside = true; aborted = false }
    // loads look into the store buffer first
    STEP(w = (has_word -> buffered : word));
    if
    :: w < FROZEN && w > 0 && held == NONE ->
      STEP(o = (has_entry && entry_at == w - 1 -> entry : objects[w - 1]));
      // a store waits for room in the buffer
      atomic { !has_word || aborted -> if :: aborted -> goto restart :: else fi;
               buffered = w - 1; has_word = true; inside = false; Take(o); held = o }
    :: w < 2 && held != NONE ->
      atomic { (!has_word && !has_entry) || aborted -> if :: aborted -> goto restart :: else fi;
               entry_at = w; entry = held; has_entry = true }
      atomic { !has_word || aborted -> if :: aborted -> goto restart :: else fi;
               used[held] = false; held = NONE;
               buffered = w + 1; has_word = true; inside = false }
    :: else ->
      atomic { inside = false }
      // the slow path: a locked instruction, which drains the buffer
      atomic {
        DRAIN_ENTRY; DRAIN_WORD;
        if
        :: held == NONE && shared[0] -> shared[0] = false; Take(0); held = 0
        :: held == NONE && shared[1] -> shared[1] = false; Take(1); held = 1
        :: held != NONE -> used[held] = false; shared[held] = true; held = NONE
        :: else
        fi
      }
    fi
  :: else -> break
  od
}

active proctype Buffer() {
  do
  :: atomic { has_entry -> DRAIN_ENTRY }
  :: atomic { has_word && !has_entry -> DRAIN_WORD }
  :: timeout -> break
  od
}

active [2] proctype Thief() {
  byte w, f, o, rounds;
  do
  :: rounds < 2 ->
    rounds++;
    // freeze
    w = word;
    f = 0;
    do
    :: w == 0 || w >= FROZEN -> f = w; break
    :: else ->
      atomic {
        if
        :: word == w ->
#ifdef ONE_NUMBER
          f = FROZEN | w;
#else
          f = FROZEN | (numbers << 2) | w; numbers++; assert(numbers <= 15);
#endif
          word = f; break
        :: else -> w = word
        fi
      }
    od;
    if
    :: f >= FROZEN ->
#ifndef NO_BARRIER
      Barrier();
#endif
      // confirm
      atomic { if :: word == f -> word = f | CONFIRMED :: else fi }
      // take all there is, as others do
      w = word;
      do
#ifdef TAKE_UNCONFIRMED
      :: w >= FROZEN ->
#else
      :: w >= (FROZEN | CONFIRMED) ->
#endif
        o = objects[COUNT(w) - 1];
        atomic {
          if
          :: word == w ->
            word = (COUNT(w) == 1 -> 0 : w - 1);
            Take(o); used[o] = false; shared[o] = true; w = word
          :: else -> w = word
          fi
        }
      :: else -> break
      od
    :: else
    fi
  :: else -> break
  od
}

init { atomic { objects[0] = 0; objects[1] = 1; word = 2 } }
