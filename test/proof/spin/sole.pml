// SPDX-License-Identifier: Apache-2.0
// A pool that is open for CPU 1 alone (objpool/opening.h): two threads of CPU 1,
// which preempt each other anywhere, one of CPU 0, whose magazine is barred, and
// openings of either kind. Two objects. A null that was found without closing
// means that at some moment of the pop both were in somebody's hands.
// What closing does with magazines is closing.pml's matter: here it takes one
// step, after the barrier.
//
// Must be caught:
//   -DNO_BARS        opens for one CPU and bars nobody
//   -DNO_LOOK        null without a look into the own magazine
//   -DNO_PUSHES      null whatever was pushed meanwhile; with -DROUNDS=3

#define CLOSED 0
#define SOLE 1
#define ALL 2
#define GENERATIONS 5
#ifndef ROUNDS
#define ROUNDS 2
#endif

byte mode = CLOSED;
byte generation;

// Magazines: an object, or none; of CPU 0's, the number of its bar.
bool own[2];
byte bar;
byte numbers;

byte shared = 2;  // where all can reach them
byte pushes;      // to there
byte idle = 2;
bool none[3];     // a thread's pop has had a moment without idle objects

bool inside[3], aborted[3];

#define STEP(statement) \
  atomic { if :: aborted[me] -> goto restart :: else fi; statement }
#define BEGIN atomic { inside[me] = true; aborted[me] = false }
#define ON(m) (m != CLOSED)  // the gate lets all up to CPU 1 in

#define TAKE \
  idle--; \
  if :: idle == 0 -> none[0] = true; none[1] = true; none[2] = true :: else fi; \
  has = true

// Another thread of this CPU runs: restart.
#define PREEMPT(other) \
  if :: inside[other] -> aborted[other] = true :: else fi

inline Settle() {
  atomic { if :: mode != CLOSED && generation < GENERATIONS ->
                 mode = CLOSED; generation++ :: else fi }
  atomic {
    aborted[0] = true; aborted[1] = true; aborted[2] = true;
    if
    :: mode == CLOSED ->
      if :: own[0] -> own[0] = false; shared++; pushes++ :: else fi;
      if :: own[1] -> own[1] = false; shared++; pushes++ :: else fi
    :: else
    fi
  }
}

// Opens for CPU 1 alone, for all, or not.
inline Open() {
  if
  :: mode == CLOSED && !own[0] && !own[1] ->
    g = generation;
#ifndef NO_BARS
    atomic {
      if
      :: mode == CLOSED && generation == g ->
        numbers++; bar = numbers
      :: else
      fi
    }
#endif
    atomic { if :: mode == CLOSED && generation == g && generation < GENERATIONS ->
                   mode = SOLE; generation++ :: else fi }
  :: mode != ALL ->
    atomic { if :: mode != ALL && generation < GENERATIONS ->
                   mode = ALL; generation++ :: else fi }
  :: true
  fi
}

inline LiftBars() {
  b = bar;
  if
  :: b != 0 ->
    m = mode;
    if
    :: m == ALL -> atomic { if :: bar == b -> bar = 0 :: else fi }
    :: else
    fi
  :: else
  fi
}

proctype Thread(byte me; byte cpu; byte other) {
  bool has = false;
  byte rounds, m, g, b, p;
  bool bare, alone;
  do
  :: rounds < ROUNDS ->
    rounds++;
    atomic { none[me] = (idle == 0) };
restart:
    // A section, on this thread's CPU: the other thread of it is not in one.
    BEGIN;
    if :: other != me -> atomic { PREEMPT(other) } :: else fi;
    STEP(m = mode);
    if
    :: has && ON(m) && (cpu == 1 || bar == 0) ->
      STEP(bare = !own[cpu]);
      if
      :: bare ->
        STEP(own[cpu] = true; idle++; inside[me] = false; has = false)
      :: else -> inside[me] = false
      fi
    :: !has && ON(m) && (cpu == 1 || bar == 0) ->
      STEP(bare = !own[cpu]);
      if
      :: !bare ->
        STEP(own[cpu] = false; inside[me] = false; TAKE)
      :: else -> inside[me] = false
      fi
    :: else -> inside[me] = false
    fi;
    if
    :: has ->  // push, the slow way
      if :: cpu == 0 -> LiftBars() :: else fi;
      if
      :: skip -> atomic { shared++; pushes++; idle++; has = false }
      :: skip  // keeps it
      fi;
      Open()
    :: !has ->
      // pop, the slow way
      atomic { m = mode; g = generation }
      p = pushes;
      atomic { if :: shared > 0 -> shared--; TAKE :: else fi };
      if
      :: has
      :: else ->
        alone = (m == SOLE && cpu == 1);
        if
        :: alone ->
#ifndef NO_LOOK
look:
          BEGIN;
          if :: other != me -> atomic { PREEMPT(other) } :: else fi;
          atomic { if :: aborted[me] -> goto look :: else fi;
                   bare = !own[1]; inside[me] = false };
#else
          bare = true;
#endif
          if :: generation != g -> bare = false :: else fi;
#ifndef NO_PUSHES
          if :: pushes != p -> bare = false :: else fi;
#endif
          if
          :: bare -> assert(none[me])
          :: else -> Settle()
          fi
        :: else -> Settle()
        fi
      fi
    fi
  :: else -> break
  od
}

init { atomic { run Thread(0, 1, 1); run Thread(1, 1, 0); run Thread(2, 0, 2) } }
