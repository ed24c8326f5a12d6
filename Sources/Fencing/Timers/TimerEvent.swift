// @unchecked: all links are guarded by the lock of the queue that the event is scheduled on.
/// Something to be done at a deadline: a node of a ``TimerQueue``, allocated beforehand.
///
/// One event is on one queue at a time; once it fired or was cancelled it may be scheduled again.
///
/// Threading: ``fire()`` runs on the queue's thread, with no lock held.
open class TimerEvent: @unchecked Sendable {
    final var deadline: UInt64 = 0
    final var order: UInt64 = 0
    final var isScheduled = false
    // A pairing heap: the first child, the next sibling, and the parent or previous sibling.
    final unowned(unsafe) var child: TimerEvent?
    final unowned(unsafe) var sibling: TimerEvent?
    final unowned(unsafe) var back: TimerEvent?

    /// Creates an event that is not scheduled.
    public init() {}

    /// Called when the deadline has passed.
    open func fire() {}

    /// Whether this comes before `other`: by deadline, then in the order of scheduling.
    final func isBefore(_ other: TimerEvent) -> Bool {
        deadline != other.deadline ? deadline < other.deadline : order < other.order
    }
}

/// An event that runs a closure, made beforehand like every event.
public final class TimerClosure: TimerEvent, @unchecked Sendable {
    private let body: @Sendable () -> Void

    /// Wraps `body`.
    public init(_ body: @escaping @Sendable () -> Void) {
        self.body = body
    }

    override public func fire() { body() }
}
