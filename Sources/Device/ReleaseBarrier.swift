import Fencing

/// Jobs whose fences have signalled and which have not yet let go of what they held.
///
/// Memory goes back outside of the signalling section, so a client that has seen the fence of an
/// unmap may ask for the memory a moment before it is there. Who finds a region or a quota used up
/// waits for this and tries once more, so that such a client gets no ENOSPC that a driver would not
/// give.
///
/// Threading: any thread; ``wait()`` outside of signalling sections and without a VM's lock.
final class ReleaseBarrier: Sendable {
    /// How long to wait at most, ns: hooks take microseconds, and a stuck one must not spread.
    static let patience: UInt64 = 1_000_000_000

    private let pending = Guarded(.leaf, 0)
    private let idle = Condition()

    /// Before the fence signals.
    func begin() { pending.withLock { $0 += 1 } }

    /// Whether something is on its way back.
    var isPending: Bool { pending.withLock { $0 != 0 } }

    /// After everything was let go.
    func end() {
        let isIdle = pending.withLock { count in
            count -= 1
            return count == 0
        }
        if isIdle { idle.broadcast() }
    }

    /// Returns when nothing is on its way back, or after a second.
    func wait() {
        SignallingSection.assertOutside("a wait for released memory")
        _ = pending.wait(on: idle, deadline: Runtime.deadline(after: Self.patience)) {
            $0 == 0 ? true : nil
        }
    }
}
