// @unchecked: `signalled` is guarded by its lock.
/// A callback that wakes one parked thread.
final class FenceWaiter: FenceCallback, @unchecked Sendable {
    private let signalled = Guarded(.timer, false)
    private let condition = Condition()

    override func fenceSignalled(_ fence: Fence) {
        signalled.withLock { $0 = true }
        condition.broadcast()
    }

    func wait(deadline: UInt64?) -> Bool {
        signalled.wait(on: condition, deadline: deadline) { $0 ? true : nil } ?? false
    }
}
