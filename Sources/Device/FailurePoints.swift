import Fencing
import Synchronization

/// Failures on purpose: makes the n-th step of a request fail.
///
/// The points are the places where a request takes a resource or changes something, in the order of
/// execution. Disarmed, a point costs one relaxed load.
///
/// Threading: any thread; the countdown counts the steps of all threads.
public final class FailurePoints: Sendable {
    private struct State {
        var countdown = 0
        var errno: Int32 = 0
        var asynchronous = false
        var stepsSeen = 0
    }

    private let armed = Atomic<Bool>(false)
    private let state = Guarded(.leaf, State())

    /// Whether points count; who has many asks once.
    var isArmed: Bool { armed.load(ordering: .acquiring) }

    /// Creates a disarmed switchboard.
    public init() {}

    /// Lets `steps` points pass and the next one fail.
    ///
    /// - Parameters:
    ///   - errno: Positive.
    ///   - asynchronous: Count the points of executing bind jobs and not those of submissions.
    public func arm(after steps: Int, errno: Int32, asynchronous: Bool = false) {
        state.withLock {
            $0 = State(countdown: steps, errno: errno, asynchronous: asynchronous)
        }
        armed.store(true, ordering: .releasing)
    }

    /// Lets everything pass.
    ///
    /// - Returns: The number of points passed since ``arm(after:errno:asynchronous:)``.
    @discardableResult
    public func disarm() -> Int {
        armed.store(false, ordering: .releasing)
        return state.withLock { $0.stepsSeen }
    }

    /// A point of a submission.
    func check(_ step: @autoclosure () -> String) throws(DeviceError) {
        if let errno = hit(asynchronous: false) { throw .injected(errno: errno, step: step()) }
    }

    /// A point of an executing bind job: the errno to fail with, if it is this one's turn.
    func asynchronousFailure() -> Int32? { hit(asynchronous: true) }

    private func hit(asynchronous: Bool) -> Int32? {
        guard armed.load(ordering: .acquiring) else { return nil }
        return state.withLock { state in
            guard state.asynchronous == asynchronous, state.errno != 0 else { return nil }
            state.stepsSeen += 1
            guard state.countdown == 0 else {
                state.countdown -= 1
                return nil
            }
            defer { state.errno = 0 }
            return state.errno
        }
    }
}
