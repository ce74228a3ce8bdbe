//! Levels, what each compaction is for, how work is paced in steps.
