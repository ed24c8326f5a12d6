import Fencing
import TestSupport

// @unchecked: threads of a run take turns.
/// Reservations locked in random orders by contexts that back off, wait, give up and cancel.
///
/// Checked: one owner at a time; only who is not the oldest is told to back off; only who was
/// cancelled is interrupted; fences are what was added; nothing stays locked.
final class BareLocks: @unchecked Sendable {
    private let run: Run
    private let reservations: [Reservation]
    private let models: [FenceModel]
    private let clients: Int
    private let rounds: Int
    private let signaller = FenceSignaller()
    /// The stamp of each reservation's owner.
    private var owners: [UInt64?]
    /// The stamps of the attempts that go on.
    private var live: Set<UInt64> = []
    /// Locks without a context that go on: their stamps are not known.
    private var anonymous = 0
    private var cancellations: [Cancellation] = []

    init(_ run: Run, _ random: inout SplitMix64) {
        self.run = run
        let count = 2 + random.below(4)
        reservations = (0..<count).map { _ in Reservation() }
        models = (0..<count).map { _ in FenceModel() }
        owners = Array(repeating: nil, count: count)
        clients = 2 + random.below(3)
        rounds = 2 + random.below(5)
    }

    func execute() {
        let ending = RuntimeThread.start(name: "signaller") { [self] in
            signaller.run(run.random(100))
        }
        run.threads(clients + 1) { [self] index in
            if index == clients {
                cancelSome(run.random(200))
            } else {
                client(run.random(1 + UInt64(index)))
            }
        }
        cancelOneWait()
        signaller.end()
        ending?.join()
        for reservation in reservations {
            run.require(!reservation.isLocked, "a reservation stays locked")
            run.require(reservation.contention.waiters.isEmpty, "a waiter was forgotten")
            run.require(reservation.isIdle(.bookkeep), "a signalled fence keeps it busy")
        }
    }

    private func cancelSome(_ random: SplitMix64) {
        var random = random
        for _ in 0..<(2 * rounds) {
            _ = Runtime.now()
            if let cancellation = cancellations.randomElement(using: &random), random.chance(2) {
                cancellation.cancel()
            }
        }
    }

    /// A wait that nothing but its cancellation ends.
    private func cancelOneWait() {
        let context = reservations[0].lock()
        let cancellation = Cancellation()
        let waiter = RuntimeThread.start(name: "cancelled") { [self] in
            let context = AcquireContext(cancellation: cancellation)
            do throws(ReservationError) {
                try reservations[0].lock(context)
                run.fail("a reservation has two owners")
            } catch {
                run.require(error == .interrupted, "a cancelled wait ends with \(error)")
            }
        }
        cancellation.cancel()
        waiter?.join()
        reservations[0].unlock(context)
    }

    private func client(_ random: SplitMix64) {
        var random = random
        let context = FenceContext()
        for _ in 0..<rounds {
            switch random.below(8) {
            case 0: lockOne(random.below(reservations.count))
            default: lockMany(&random, context)
            }
        }
    }

    private func lockOne(_ index: Int) {
        anonymous += 1
        let context = reservations[index].lock()
        took(index, context)
        anonymous -= 1
        live.insert(context.stamp)
        models[index].check(reservations[index], run)
        unlock(index, context)
        live.remove(context.stamp)
        run.count("single")
    }

    private func lockMany(_ random: inout SplitMix64, _ fences: FenceContext) {
        let cancellation = random.chance(4) ? Cancellation() : nil
        if let cancellation { cancellations.append(cancellation) }
        let context = AcquireContext(cancellation: cancellation)
        live.insert(context.stamp)
        defer { live.remove(context.stamp) }
        let wanted = (0...random.below(reservations.count)).map { _ in
            random.below(reservations.count)
        }
        guard let held = acquire(wanted, context, &random) else {
            run.count("interrupted")
            return
        }
        context.done()
        run.count("attempts")
        let fence = fences.makeFence()
        for index in held {
            models[index].check(reservations[index], run)
            let usage = FenceUsage.allCases[random.below(4)]
            do throws(ReservationError) {
                try reservations[index].reserve(1 + random.below(2))
            } catch {
                run.fail("no slots: \(error)")
            }
            reservations[index].add(fence, usage: usage)
            models[index].add(fence, usage)
            run.require(reservations[index].usage(of: fence) == usage, "the usage of a fence")
        }
        signaller.push(fence)
        for index in held.shuffled(using: &random) { unlock(index, context) }
    }

    /// Nil if the attempt was cancelled; then nothing is held.
    private func acquire(
        _ wanted: [Int], _ context: AcquireContext, _ random: inout SplitMix64
    ) -> [Int]? {
        var held: [Int] = []
        var contended: Int?
        var isOldest = false
        while true {
            do throws(ReservationError) {
                if let contended {
                    try reservations[contended].lockSlow(context)
                    took(contended, context)
                    held.append(contended)
                }
                contended = nil
                for index in wanted {
                    contended = index
                    // Who is the oldest stays it.
                    isOldest = live.min() == context.stamp && anonymous == 0
                    if random.chance(6), !held.contains(index) {
                        guard reservations[index].tryLock(context) else { continue }
                    } else {
                        do throws(ReservationError) {
                            try reservations[index].lock(context)
                        } catch {
                            guard error == .alreadyLocked else { throw error }
                            run.require(held.contains(index), "EALREADY for what is not held")
                            continue
                        }
                    }
                    run.require(!held.contains(index), "a reservation was locked twice")
                    took(index, context)
                    held.append(index)
                }
                return held
            } catch {
                switch error {
                case .deadlock:
                    run.require(!held.isEmpty, "backs off with nothing in hand")
                    run.require(!isOldest, "the oldest attempt was told to back off")
                    run.count("back-offs")
                case .interrupted:
                    run.require(
                        context.cancellation?.isCancelled == true, "interrupted by nobody")
                default: run.fail("\(error)")
                }
                for index in held { unlock(index, context) }
                held = []
                if error == .interrupted { return nil }
            }
        }
    }

    private func took(_ index: Int, _ context: AcquireContext) {
        run.require(owners[index] == nil, "a reservation has two owners")
        owners[index] = context.stamp
        run.require(reservations[index].isLocked(by: context), "the owner does not hold it")
    }

    private func unlock(_ index: Int, _ context: AcquireContext) {
        run.require(owners[index] == context.stamp, "unlocked by another owner")
        owners[index] = nil
        reservations[index].unlock(context)
    }
}
