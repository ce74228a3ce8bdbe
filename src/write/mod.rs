//! THE WRITE PATH in one screen.
