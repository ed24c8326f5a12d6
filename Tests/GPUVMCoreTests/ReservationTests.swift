import Fencing
import TestSupport
import Testing

@Suite struct ReservationTests {
    @Test func lockingTwiceIsAnError() throws {
        let reservation = Reservation()
        let context = AcquireContext()
        try reservation.lock(context)
        #expect(throws: ReservationError.alreadyLocked) { try reservation.lock(context) }
        #expect(reservation.isLocked(by: context))
        reservation.unlock(context)
        #expect(!reservation.isLocked)
        #expect(ReservationError.alreadyLocked.errno == 114)
        #expect(ReservationError.deadlock.errno == 35)
    }

    /// Threads that lock random sets in random order: no deadlock, no lost update.
    @Test(.timeLimit(.minutes(1))) func manyThreadsManyOrders() throws {
        let reservations = (0..<6).map { _ in Reservation() }
        let counters = (0..<6).map { _ in UnguardedCounter() }
        let threads = (0..<4).compactMap { seed in
            RuntimeThread.start(name: "ww-\(seed)") { [reservations, counters] in
                var random = SplitMix64(seed: UInt64(seed))
                for _ in 0..<800 {
                    let wanted = Array((0..<6).shuffled(using: &random).prefix(3))
                    let context = AcquireContext()
                    var held: [Int] = []
                    var contended: Int?
                    attempt: while true {
                        if let index = contended {
                            try? reservations[index].lockSlow(context)
                            held.append(index)
                        }
                        for index in wanted where index != contended {
                            do throws(ReservationError) {
                                try reservations[index].lock(context)
                                held.append(index)
                            } catch {
                                for index in held { reservations[index].unlock(context) }
                                held = []
                                contended = index
                                continue attempt
                            }
                        }
                        break
                    }
                    for index in wanted { counters[index].value += 1 }
                    for index in held { reservations[index].unlock(context) }
                }
            }
        }
        #expect(threads.count == 4)
        for thread in threads { thread.join() }
        #expect(counters.reduce(0) { $0 + $1.value } == 4 * 800 * 3)
    }

    @Test func fencesByUsage() throws {
        let reservation = Reservation()
        let context = reservation.lock()
        #expect(throws: ReservationError.noSlots) { try reservation.reserve(0) }
        try reservation.reserve(4)
        let queue = FenceContext()
        let other = FenceContext()
        let fences = [queue.makeFence(), other.makeFence()]
        reservation.add(fences[0], usage: .bookkeep)
        reservation.add(fences[1], usage: .write)
        #expect(reservation.fences(.kernel).isEmpty)
        #expect(reservation.fences(.write).map(\.context) == [other.id])
        #expect(reservation.fences(.bookkeep).count == 2)
        // A later fence of the same context takes the slot of the earlier one.
        let later = queue.makeFence()
        reservation.add(later, usage: .bookkeep)
        #expect(reservation.fences(.bookkeep).count == 2)
        #expect(reservation.usage(of: fences[0]) == nil)
        #expect(reservation.usage(of: later) == .bookkeep)
        // But a read does not take the slot of a write: both stay.
        let weaker = other.makeFence()
        reservation.add(weaker, usage: .read)
        #expect(reservation.usage(of: weaker) == .read)
        #expect(reservation.usage(of: fences[1]) == .write)
        #expect(!reservation.isIdle(.write))
        fences[1].signal()
        #expect(reservation.isIdle(.write))
        reservation.unlock(context)
        for fence in [later, weaker] { fence.signal() }
    }
}

/// Plain memory: the lock under test is all that guards it.
final class UnguardedCounter: @unchecked Sendable {
    var value = 0
}

/// A value behind a lock of the module under test.
final class LockedValue<Value: Sendable>: Sendable {
    private let guarded: Guarded<Value>
    init(_ value: Value) { guarded = Guarded(.leaf, value) }
    func set(_ value: Value) { guarded.withLock { $0 = value } }
    func get() -> Value { guarded.withLock { $0 } }
}
