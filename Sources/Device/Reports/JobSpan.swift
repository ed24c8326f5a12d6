import Fencing

/// When a job ran, in CLOCK_MONOTONIC ns; for jobs that are reported.
struct JobSpan {
    /// Its first slice; 0: none yet.
    private(set) var began: UInt64 = 0
    /// Its end; 0: not yet.
    private(set) var ended: UInt64 = 0

    /// At the beginning of each slice.
    mutating func begin() {
        if began == 0 { began = Runtime.now() }
    }

    mutating func end() { ended = Runtime.now() }
}
