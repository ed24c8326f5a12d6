import Fencing
import GPUVMCore
import TestSupport

// @unchecked: a VM is guarded by its space's lock, a guard by its reservation, the rest by locks.
/// Threads that lock VMs, shared objects and victims in random orders, in all forms of exec locking.
final class ExecStress: @unchecked Sendable {
    /// A VM with the lock of its users, and its private objects.
    final class Space {
        let lock = Lock(.vm)
        let vm: GPUVM
        let locals: [GPUVMObject]

        init(_ vm: GPUVM) {
            self.vm = vm
            locals = (0..<2).map { _ in GPUVMObject(reservation: vm.reservation) }
        }
    }

    /// Plain memory behind one reservation: who is inside, and how many were.
    final class Guard {
        var inside: UInt64 = 0
        var visits = 0
    }

    struct Report: Sendable {
        var attempts = 0
        var locked = 0
        var backOffs = 0
        var mostBackOffs = 0
        var interrupted = 0
        var victims = 0
        /// Contexts that were told to back off though none was older.
        var oldestBackedOff = 0
        /// Two contexts inside of one reservation, or one that was lost.
        var intrusions = 0
        var unexpected: [GPUVMError] = []
        var finishedThreads = 0
    }

    private struct Shared {
        var report = Report()
        /// A rule was broken: there is nothing to wait for any more.
        var hasFailed = false
    }

    static let threadCount = 8
    static let pages: UInt64 = 16

    let quota: Int
    /// A thread cancels another one's attempt once in so many of its own; 0: never.
    let cancelOneIn: UInt64
    let shared: [GPUVMObject]
    let spaces: [Space]
    let guards: [ObjectIdentifier: Guard]
    /// The stamp of each thread's attempt, 0 between two. Attempts begin under this lock, so the
    /// smallest one here is the oldest of all.
    private let live = Guarded(.leaf, [UInt64](repeating: 0, count: threadCount))
    private let cancellations = Guarded(.leaf, [Cancellation?](repeating: nil, count: threadCount))
    private let sharedState = Guarded(.leaf, Shared())
    private let changed = Condition()
    private let isStopped = Guarded(.leaf, false)

    init(seed: UInt64, quota: Int, cancelOneIn: UInt64 = 0, flags: GPUVMFlags) throws {
        self.quota = quota
        self.cancelOneIn = cancelOneIn
        var random = SplitMix64(seed: seed)
        shared = (0..<256).map { _ in GPUVMObject() }
        spaces = try (0..<64).map { _ in Space(try makeVM(flags)) }
        let all = shared.map(\.reservation) + spaces.map(\.vm.reservation)
        guards = Dictionary(uniqueKeysWithValues: all.map { (ObjectIdentifier($0), Guard()) })
        for space in spaces {
            for page in 0..<Self.pages {
                let object = page < 2 ? space.locals[Int(page)] : pick(&random)
                try map(space.vm, page: page, object)
            }
        }
    }

    /// Some objects are wanted by many, so that there is contention.
    private func pick(_ random: inout SplitMix64) -> GPUVMObject {
        shared[Int(random.next() % (random.next() % 2 == 0 ? 8 : 256))]
    }

    // MARK: - The run

    /// What became of the threads; nil if they did not end in that time, with who waits for whom.
    func run(seconds: UInt64, seed: UInt64) -> (Report, stuck: String?) {
        for index in 0..<Self.threadCount {
            RuntimeThread.start(name: "exec-\(index)") { [self] in
                work(index, SplitMix64(seed: seed &+ UInt64(index) &* 7919))
            }?.detach()
        }
        if let report = wait(seconds, orFailure: true), report.finishedThreads == Self.threadCount {
            return (report, nil)
        }
        let stuck = whoWaitsForWhom()
        isStopped.withLock { $0 = true }
        for _ in 0..<20 {
            for cancellation in cancellations.withLock({ $0 }) { cancellation?.cancel() }
            if let report = wait(1, orFailure: false) { return (report, stuck) }
        }
        fatalError("the threads cannot be stopped:\n\(whoWaitsForWhom())")
    }

    private func wait(_ seconds: UInt64, orFailure: Bool) -> Report? {
        sharedState.wait(
            on: changed, deadline: Runtime.deadline(after: seconds * 1_000_000_000)
        ) { state in
            let isOver = state.report.finishedThreads == Self.threadCount
            return isOver || (orFailure && state.hasFailed) ? state.report : nil
        }
    }

    private func whoWaitsForWhom() -> String {
        let stamps = live.withLock { $0 }
        func name(_ stamp: UInt64) -> String {
            let thread = stamps.firstIndex(of: stamp).map { "thread \($0)" } ?? "somebody"
            return "\(thread) (stamp \(stamp))"
        }
        var lines: [String] = []
        let all = shared.map(\.reservation) + spaces.map(\.vm.reservation)
        for (index, reservation) in all.enumerated() {
            let (owner, waiters) = reservation.contention
            guard !waiters.isEmpty else { continue }
            let holder = owner.map { "held by \(name($0))" } ?? "free"
            lines.append(
                "reservation \(index), \(holder): \(waiters.map(name).joined(separator: ", ")) wait"
            )
        }
        return lines.joined(separator: "\n")
    }

    private func work(_ thread: Int, _ seeded: SplitMix64) {
        var random = seeded
        let fences = FenceContext()
        var own = Report()
        while own.attempts < quota, !isStopped.withLock({ $0 }) {
            if cancelOneIn != 0, random.next() % cancelOneIn == 0 {
                let other = Int(random.next() % UInt64(Self.threadCount))
                cancellations.withLock { $0[other] }?.cancel()
            }
            attempt(thread, &random, fences, &own)
        }
        let result = own
        sharedState.withLock { state in
            state.report.attempts += result.attempts
            state.report.locked += result.locked
            state.report.backOffs += result.backOffs
            state.report.mostBackOffs = max(state.report.mostBackOffs, result.mostBackOffs)
            state.report.interrupted += result.interrupted
            state.report.victims += result.victims
            state.report.oldestBackedOff += result.oldestBackedOff
            state.report.intrusions += result.intrusions
            state.report.unexpected += result.unexpected
            state.report.finishedThreads += 1
        }
        changed.broadcast()
    }

    // MARK: - One attempt

    /// What an attempt locks: the same in each of its runs.
    private struct Plan {
        enum Form: UInt64 { case vm, array, range, map, unmap, touched, validated }

        let form: Form
        let address: UInt64
        let range: UInt64
        let extras: [GPUVMObject]
        let victims: [GPUVMObject]
        let waitsForVictims: Bool
    }

    private func makePlan(_ random: inout SplitMix64) -> Plan {
        let page = random.next() % Self.pages
        let pages = 1 + random.next() % (Self.pages - page)
        var victims = (0..<random.next() % 3).map { _ in pick(&random) }
        // A private object of any VM, whose lock this thread does not have.
        if random.next() % 4 == 0 {
            victims.append(spaces[Int(random.next() % 64)].locals[0])
        }
        return Plan(
            form: Plan.Form(rawValue: random.next() % 7) ?? .vm, address: page << 12,
            range: pages << 12, extras: (0..<3).map { _ in pick(&random) }, victims: victims,
            waitsForVictims: random.next() % 2 == 0)
    }

    private func attempt(
        _ thread: Int, _ random: inout SplitMix64, _ fences: FenceContext, _ report: inout Report
    ) {
        let plan = makePlan(&random)
        let space = spaces[Int(random.next() % 64)]
        let cancellation = Cancellation()
        cancellations.withLock { $0[thread] = cancellation }
        space.lock.lock()
        defer { space.lock.unlock() }
        var exec = live.withLock { stamps in
            let exec = ExecLocking(ignoresDuplicates: true, cancellation: cancellation)
            stamps[thread] = exec.stamp
            return exec
        }
        var ops = OpList()
        var victims: [GPUVMObject] = []
        do throws(GPUVMError) {
            try exec.untilAllLocked { exec throws(GPUVMError) in
                let stamp = exec.stamp
                let isOldest = live.withLock { $0.allSatisfy { $0 == 0 || $0 >= stamp } }
                victims.removeAll()
                do throws(GPUVMError) {
                    try lock(plan, space.vm, &exec, &ops)
                    for victim in plan.victims {
                        if try exec.lockVictim(victim, waiting: plan.waitsForVictims) {
                            victims.append(victim)
                        }
                    }
                } catch {
                    if error == .contended, isOldest {
                        report.oldestBackedOff += 1
                        sharedState.withLock { $0.hasFailed = true }
                        changed.broadcast()
                    }
                    throw error
                }
            }
            report.victims += victims.count
            use(exec, &report)
            try change(plan, space.vm, &ops, victims)
            let fence = fences.makeFence()
            exec.addFence(
                fence, vm: space.vm, privateUsage: .bookkeep, externalUsage: .write)
            if let victim = victims.first { exec.unlockVictim(victim) }
            exec.unlockAll()
            fence.signal()
            report.attempts += 1
        } catch {
            if error == .interrupted {
                report.interrupted += 1
            } else {
                report.unexpected.append(error)
                report.attempts += 1
            }
        }
        report.backOffs += exec.backOffCount
        report.mostBackOffs = max(report.mostBackOffs, exec.backOffCount)
        live.withLock { $0[thread] = 0 }
    }

    private func lock(
        _ plan: Plan, _ vm: GPUVM, _ exec: inout ExecLocking, _ ops: inout OpList
    ) throws(GPUVMError) {
        try exec.prepareVM(vm, slots: 1)
        switch plan.form {
        case .vm, .validated: try exec.prepareExternalObjects(of: vm, slots: 1)
        case .array:
            try exec.prepareExternalObjects(of: vm, slots: 1)
            try exec.prepare(plan.extras, slots: 1)
        case .range:
            try exec.prepareRange(of: vm, address: plan.address, range: plan.range, slots: 1)
        case .map:
            try exec.prepareMap(
                MapRequest(
                    address: plan.address, range: 1 << 12, object: plan.extras[0], offset: 0),
                in: vm, slots: 1, planningInto: &ops)
        case .unmap:
            try exec.prepareUnmap(
                address: plan.address, range: 1 << 12, in: vm, planningInto: &ops)
        case .touched:
            try exec.prepareTouched(
                of: vm, address: plan.address, range: plan.range, slots: 1)
        }
    }

    /// Goes through every reservation: nobody else may be there, now or in the meantime.
    private func use(_ exec: borrowing ExecLocking, _ report: inout Report) {
        let held = exec.lockedObjects.compactMap { guards[ObjectIdentifier($0.reservation)] }
        for place in held {
            if place.inside != 0 { report.intrusions += 1 }
            place.inside = exec.stamp
            place.visits += 1
        }
        for place in held {
            if place.inside != exec.stamp { report.intrusions += 1 }
            place.inside = 0
        }
        report.locked += held.count
    }

    private func change(
        _ plan: Plan, _ vm: GPUVM, _ ops: inout OpList, _ victims: [GPUVMObject]
    ) throws(GPUVMError) {
        for victim in victims {
            victim.setEvicted(true)
            for vm in victim.vms { vm.forEachMapping(of: victim) { _ = $0.address } }
        }
        switch plan.form {
        case .map, .unmap:
            vm.begin()
            do throws(GPUVMError) {
                try vm.apply(&ops)
                vm.commit()
            } catch {
                vm.rollback()
                throw error
            }
        case .validated:
            try vm.validate { object throws(GPUVMError) in object.setEvicted(false) }
        case .vm, .array, .range, .touched: break
        }
    }
}
