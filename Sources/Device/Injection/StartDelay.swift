import Fencing

// @unchecked: as its superclass; the fence is immutable.
/// An in-fence that signals by itself after a time: who waits for it holds no thread.
final class StartDelay: TimerEvent, @unchecked Sendable {
    /// The in-fence.
    let fence = FenceContext().makeFence()
    private let duration: UInt64

    /// - Parameter duration: ns.
    init(_ duration: UInt64) {
        self.duration = duration
        super.init()
    }

    /// Lets the time run; a device that ends meanwhile cancels what waits.
    func begin(on timers: TimerQueue) {
        timers.schedule(self, deadline: Runtime.deadline(after: duration))
    }

    override func fire() { fence.signal() }
}
