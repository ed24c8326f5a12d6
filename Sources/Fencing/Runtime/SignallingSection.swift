import CPlatform

/// The dynamic extent in which code runs on the path to a published fence's signal.
///
/// Inside, nothing is allocated from this software's pools, no lock is taken under which anybody
/// allocates or waits for a fence, and no fence is waited for. Debug builds trap on a violation.
/// Sections nest. Source: Documentation/driver-api/dma-buf.rst, `dma_fence_begin_signalling`.
public enum SignallingSection {
    /// Runs `body` inside a section.
    @inline(__always)
    public static func run<Result: ~Copyable, Failure: Error>(
        _ body: () throws(Failure) -> Result
    ) throws(Failure) -> Result {
        #if DEBUG
            gpuvm_thread_state().pointee.signalling_depth += 1
            defer { gpuvm_thread_state().pointee.signalling_depth -= 1 }
        #endif
        return try body()
    }

    /// Traps in debug builds inside a section: called by every pool that hands out memory and by
    /// every wait for a fence.
    @inline(__always)
    public static func assertOutside(_ what: StaticString) {
        #if DEBUG
            precondition(
                gpuvm_thread_state().pointee.signalling_depth == 0,
                "\(what) inside a fence-signalling section")
        #endif
    }
}
