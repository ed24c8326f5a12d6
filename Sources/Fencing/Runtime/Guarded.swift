// @unchecked: the value is touched under the lock only.
/// A value that can be reached only under its ``Lock``.
///
/// Threading: any thread. The value never leaves `withLock`; its lock's class decides what may be
/// called inside.
public struct Guarded<Value: ~Copyable>: ~Copyable, @unchecked Sendable {
    private let guardLock: Lock
    private let value: UnsafeMutablePointer<Value>

    /// Wraps `value` behind a new lock of the given class.
    public init(_ lockClass: LockClass, _ value: consuming sending Value) {
        guardLock = Lock(lockClass)
        self.value = .allocate(capacity: 1)
        self.value.initialize(to: value)
    }

    deinit {
        value.deinitialize(count: 1)
        value.deallocate()
    }

    /// Runs `body` on the value with the lock held.
    @inline(__always)
    public func withLock<Result: ~Copyable, Failure: Error>(
        _ body: (inout Value) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        guardLock.lock()
        defer { guardLock.unlock() }
        return try body(&value.pointee)
    }

    /// Parks on `condition` until `predicate` gives a result or the deadline (ns) passes (nil).
    public func wait<Result>(
        on condition: borrowing Condition, deadline: UInt64? = nil,
        until predicate: (inout Value) -> Result?
    ) -> Result? {
        guardLock.lock()
        defer { guardLock.unlock() }
        while true {
            if let result = predicate(&value.pointee) { return result }
            if !condition.wait(guardLock, deadline: deadline) {
                return predicate(&value.pointee)
            }
        }
    }
}
