// SPDX-License-Identifier: Apache-2.0
// The slot of the kernel's object pool (lib/objpool.c, Linux 6.7): a push
// reserves a position, stores the entry, and then publishes `last = tail + 1`
// without waiting for reservations before its own.
//
// In the kernel interrupts are off meanwhile: -DINTERRUPTS_OFF, correct. In
// userspace a push may be preempted anywhere: a negative control, in which an
// object must be found to be handed out twice.

#define OBJECTS 2
#define ENTRIES 2
#define NONE 9

byte entries[ENTRIES];
byte head, tail, last;
bool used[OBJECTS];
byte in_push;

proctype Thread(byte mine) {
  byte t, h, object = mine;
  byte rounds;
  do
  :: rounds < 2 ->
    rounds++;
    // push
    if
    :: object != NONE ->
      used[object] = false;
#ifdef INTERRUPTS_OFF
      atomic { in_push == 0; in_push = 1 }
#endif
      t = tail;
      do
      :: atomic { tail == t -> tail = t + 1; break }
      :: atomic { tail != t -> t = tail }
      od;
      entries[t % ENTRIES] = object;
      last = t + 1;
#ifdef INTERRUPTS_OFF
      in_push = 0;
#endif
      object = NONE
    :: else
    fi;
    // pop
    h = head;
    do
    :: h == last -> break
    :: h != last ->
      object = entries[h % ENTRIES];
      if
      :: atomic { head == h -> head = h + 1; break }
      :: atomic { head != h -> h = head; object = NONE }
      fi
    od;
    if
    :: atomic { object != NONE -> assert(!used[object]); used[object] = true }
    :: else
    fi
  :: else -> break
  od
}

init {
  atomic {
    used[0] = true; used[1] = true;
    run Thread(0);
    run Thread(1)
  }
}
