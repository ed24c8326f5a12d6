import Fencing
import Glibc
import GPUVMCore
import Testing

/// A space with room for a few mappings.
func makeVM(_ flags: GPUVMFlags = []) throws -> GPUVM {
    try GPUVM(flags: flags, start: 0, range: 1 << 30, capacity: 256)
}

/// Maps one page of an object at a page's address.
func map(_ vm: GPUVM, page: UInt64, _ object: GPUVMObject?) throws {
    try vm.insert(MapRequest(address: page << 12, range: 1 << 12, object: object, offset: 0))
}

/// What a thread under test came to.
final class Outcome<Value: Sendable>: Sendable {
    private let value = Guarded<Value?>(.leaf, nil)
    private let arrived = Condition()

    func set(_ new: Value) {
        value.withLock { $0 = new }
        arrived.broadcast()
    }

    /// The value; nil if there is none after so many seconds.
    func wait(seconds: UInt64 = 10) -> Value? {
        value.wait(on: arrived, deadline: Runtime.deadline(after: seconds * 1_000_000_000)) { $0 }
    }
}

/// Runs `body` on a thread; what it returns, or the error's number, is the outcome.
func run<Value: Sendable>(
    _ body: @escaping @Sendable () throws(GPUVMError) -> Value
) -> Outcome<Result<Value, GPUVMError>> {
    let outcome = Outcome<Result<Value, GPUVMError>>()
    RuntimeThread.start(name: "exec") {
        do throws(GPUVMError) {
            outcome.set(.success(try body()))
        } catch {
            outcome.set(.failure(error))
        }
    }?.detach()
    return outcome
}

/// `#expect` for conditions on values that cannot be copied.
func check(_ condition: Bool, _ sourceLocation: SourceLocation = #_sourceLocation) {
    #expect(condition, sourceLocation: sourceLocation)
}

/// Whether something that another thread does is seen within 10 s.
func eventually(_ condition: () -> Bool) -> Bool {
    let deadline = Runtime.deadline(after: 10_000_000_000)
    while !condition() {
        if Runtime.now() > deadline { return false }
        sched_yield()
    }
    return true
}

// @unchecked: the flag is guarded.
/// Notes when its last hard reference goes.
final class MortalObject: GPUVMObject, @unchecked Sendable {
    private let ended = Guarded(.leaf, false)
    /// Whether one of these was locked at that moment.
    private let lockedAtEnd = Guarded(.leaf, false)
    let witnesses: [Reservation]

    init(witnesses: [Reservation] = []) {
        self.witnesses = witnesses
        super.init()
    }

    var hasEnded: Bool { ended.withLock { $0 } }
    var endedUnderLock: Bool { lockedAtEnd.withLock { $0 } }

    override func lastHardReferenceDropped() {
        let locked = reservation.isLocked || witnesses.contains { $0.isLocked }
        lockedAtEnd.withLock { $0 = locked }
        ended.withLock { $0 = true }
    }
}
