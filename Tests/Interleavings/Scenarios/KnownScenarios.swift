import Fencing
import Synchronization

// Programs of which it is known how they end: they prove that the explorer sees what it is for.

/// A flag that is read outside of the lock: the wake-up can come before the wait, and a thread then
/// waits for ever.
enum LostWakeUpScenario: Scenario {
    static let name = "known-lost-wake-up"

    private final class Gate: Sendable {
        let isOpen = Atomic<Bool>(false)
        let lock = Lock(.leaf)
        let opened = Condition()
    }

    static func run(_ run: Run) {
        let gate = Gate()
        run.threads(2) { index in
            if index == 0 {
                guard !gate.isOpen.load(ordering: .acquiring) else { return }
                gate.lock.withLock { _ = gate.opened.wait(gate.lock) }
            } else {
                gate.isOpen.store(true, ordering: .releasing)
                gate.opened.signal()
            }
        }
    }
}

/// A counter that is read and written in two critical sections: updates get lost.
enum LostUpdateScenario: Scenario {
    static let name = "known-lost-update"

    private final class Counter: Sendable {
        let value = Guarded(.leaf, 0)
    }

    static func run(_ run: Run) {
        let counter = Counter()
        run.threads(3) { _ in
            let old = counter.value.withLock { $0 }
            counter.value.withLock { $0 = old + 1 }
        }
        run.require(counter.value.withLock { $0 } == 3, "an update was lost")
    }
}

/// Threads that wait for each other politely, for ever.
enum LivelockScenario: Scenario {
    static let name = "known-livelock"

    static func run(_ run: Run) {
        run.threads(2) { _ in while Runtime.now() > 0 {} }
    }
}

/// Deadlines, wake-ups and joins that are right in every interleaving.
enum SoundScenario: Scenario {
    static let name = "known-sound"

    private final class Box: Sendable {
        let value = Guarded(.leaf, 0)
        let changed = Condition()
    }

    static func run(_ run: Run) {
        let box = Box()
        run.threads(4) { index in
            if index == 0 {
                let deadline = Runtime.deadline(after: 1_000_000)
                let never = box.value.wait(on: box.changed, deadline: deadline) {
                    $0 == 100 ? true : nil
                }
                run.require(never == nil && Runtime.now() >= deadline, "a wait ended early")
            } else {
                for turn in 0..<3 {
                    let mine = turn * 3 + index - 1
                    _ = box.value.wait(on: box.changed) { $0 == mine ? true : nil }
                    box.value.withLock { $0 += 1 }
                    box.changed.broadcast()
                }
            }
        }
        run.require(box.value.withLock { $0 } == 9, "turns were missed")
    }
}
