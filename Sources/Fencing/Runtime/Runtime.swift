import CPlatform
import Glibc
import Synchronization

/// The one seam through which this software starts threads, locks, parks and reads the clock.
///
/// By default it is the operating system. ``install(_:)`` puts a ``ThreadScheduler`` in its place,
/// once, before the first thread starts.
public enum Runtime {
    /// The address of the installed scheduler's box, never released; 0 for the operating system.
    private static let installed = Atomic<UInt>(0)

    private final class Box: Sendable {
        let scheduler: any ThreadScheduler
        init(_ scheduler: any ThreadScheduler) { self.scheduler = scheduler }
    }

    /// Replaces the operating system for the rest of the process.
    ///
    /// Threading: before any other use of this module; a second call is a programming error.
    public static func install(_ scheduler: any ThreadScheduler) {
        let box = Unmanaged.passRetained(Box(scheduler)).toOpaque()
        let (done, _) = installed.compareExchange(
            expected: 0, desired: UInt(bitPattern: box), ordering: .acquiringAndReleasing)
        precondition(done, "a thread scheduler is installed already")
    }

    @inline(__always)
    static var scheduler: (any ThreadScheduler)? {
        guard let box = UnsafeRawPointer(bitPattern: installed.load(ordering: .acquiring)) else {
            return nil
        }
        // The box was retained for ever by install(_:).
        return Unmanaged<Box>.fromOpaque(box).takeUnretainedValue().scheduler
    }

    /// CLOCK_MONOTONIC in nanoseconds: the clock of every deadline and timestamp here.
    public static func now() -> UInt64 {
        if let scheduler { return scheduler.now() }
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return UInt64(time.tv_sec) &* 1_000_000_000 &+ UInt64(time.tv_nsec)
    }

    /// `now() + nanoseconds`, saturated.
    public static func deadline(after nanoseconds: UInt64) -> UInt64 {
        let (sum, overflow) = now().addingReportingOverflow(nanoseconds)
        return overflow ? .max : sum
    }
}
