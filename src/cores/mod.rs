//! One loop per CPU; a handle to ask a core and await its reply.
