import Fencing
import TestSupport

/// A thread that signals fences some time after they were made, in the order of making: the
/// engines of a scenario without engines.
final class FenceSignaller: Sendable {
    private struct State {
        var fences: [Fence] = []
        var isEnding = false
    }

    private let state = Guarded(.leaf, State())
    private let changed = Condition()

    func push(_ fence: Fence) {
        state.withLock { $0.fences.append(fence) }
        changed.signal()
    }

    /// Lets ``run(_:)`` return when everything was signalled.
    func end() {
        state.withLock { $0.isEnding = true }
        changed.signal()
    }

    /// Signals what is pushed, sometimes with an error.
    func run(_ random: SplitMix64) {
        var random = random
        while true {
            let fence = state.wait(on: changed) { state -> Fence?? in
                if !state.fences.isEmpty { return .some(state.fences.removeFirst()) }
                return state.isEnding ? .some(nil) : nil
            }
            guard let fence, let fence else { return }
            SignallingSection.run { _ = fence.signal(error: random.chance(5) ? 5 : 0) }
        }
    }
}
