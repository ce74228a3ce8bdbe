//! DOOR 3: spawn, sleep, now, random, mailboxes between cores.
