//! Memory pools: reserve, give back, refuse.
