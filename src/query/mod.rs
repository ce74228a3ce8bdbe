//! THE READ PATH in one screen.
