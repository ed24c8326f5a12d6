import Fencing
import GPUVMCore
import TestSupport

// @unchecked: `random` and `round` belong to one thread each; the rest synchronises itself.
/// One immediate-mode VM and what several threads do to it, each in its own method.
final class WalkStage: @unchecked Sendable {
    private struct Job {
        var request: MapRequest?
        var pair: GPUVMBO.ID?
        var unmapped: GPUVMObject?
        var address: UInt64 = 0
        var reservation: UnsafeMutablePointer<ImmediateReservation>
    }

    // @unchecked: the guard hands jobs from thread to thread, one owner at a time.
    private struct Queue: @unchecked Sendable {
        var jobs: [Job] = []
        var isEnded = false
    }

    let vm: ImmediateVM
    /// Objects that live throughout; others end with their last mapping.
    let pool = (0..<10).map { _ in PairTests.Tracked() }
    let isExecuted = LockedValue(false)
    let failures = LockedValue<[String]>([])
    private let vmLock = Lock(.vm)
    private let queue = Guarded(.leaf, Queue())
    private let changed = Condition()
    private var random: SplitMix64
    private var round = 0

    init(_ vm: ImmediateVM, seed: UInt64) {
        self.vm = vm
        random = SplitMix64(seed: seed)
    }

    private func fail(_ text: String) {
        if failures.get().count < 10 { failures.set(failures.get() + [text]) }
    }

    /// Submission: validates, obtains and reserves, under the VM lock.
    func submit(_ round: Int) {
        // A few jobs in flight, so that their reservations fit the capacity.
        _ = queue.wait(on: changed) { $0.jobs.count < 16 ? true : nil }
        vmLock.withLock {
            do throws(GPUVMError) {
                try enqueue(round)
            } catch {
                fail("round \(round): \(error)")
            }
        }
    }

    private func enqueue(_ round: Int) throws(GPUVMError) {
        let slot = UnsafeMutablePointer<ImmediateReservation>.allocate(capacity: 1)
        slot.initialize(to: try vm.space.reserveImmediate(maps: 1, unmaps: 1))
        var job = Job(address: (random.next() % 24) << 12, reservation: slot)
        switch random.next() % 6 {
        case 0: job.unmapped = pool[Int(random.next() % 10)]
        case 1: break
        case 2, 3:
            // Ends with its mapping; in a weak VM with this method, while it is mapped.
            let object = PairTests.Tracked()
            job.request = MapRequest(
                address: job.address, range: 2 << 12, object: object, offset: 0)
            job.pair = try vm.space.obtain(object)
            object.releaseHardReference()
        default:
            let object = pool[Int(random.next() % 10)]
            job.request = MapRequest(
                address: job.address, range: 2 << 12, object: object, offset: 0)
            job.pair = vm.space.obtain(try vm.space.preallocate(object))
        }
        let ready = job
        queue.withLock { $0.jobs.append(ready) }
        changed.broadcast()
    }

    func endSubmission() {
        queue.withLock { $0.isEnded = true }
        changed.broadcast()
    }

    /// Execution, as a bind job. False when all is done.
    func executeNext() -> Bool {
        let next = queue.wait(on: changed) { queue -> Queue? in
            guard !queue.jobs.isEmpty || queue.isEnded else { return nil }
            defer { queue.jobs = [] }
            return queue
        }
        changed.broadcast()
        for job in next?.jobs ?? [] { execute(job) }
        return next?.jobs.isEmpty == false
    }

    private func execute(_ job: Job) {
        vm.execute {
            if let request = job.request {
                vm.space.executeMap(
                    request, pair: job.pair, using: &job.reservation.pointee
                ) { _ in }
            } else if let object = job.unmapped {
                vm.space.executeUnmapObject(object, using: &job.reservation.pointee) { _ in }
            } else {
                vm.space.executeUnmap(
                    address: job.address, range: 3 << 12, using: &job.reservation.pointee
                ) { _ in }
            }
            if let pair = job.pair { vm.space.put(pair) }
        }
        job.reservation.deinitialize(count: 1)
        job.reservation.deallocate()
    }

    /// An exec: locks everything and validates, under the VM lock.
    func lockAll() {
        vmLock.withLock {
            var exec = ExecLocking(ignoresDuplicates: true)
            do throws(GPUVMError) {
                try exec.untilAllLocked { exec throws(GPUVMError) in
                    try exec.prepareVM(vm.space, slots: 1)
                    try vm.space.forEachExternalObject { object throws(GPUVMError) in
                        check(object)
                        try exec.prepare(object, slots: 1)
                        check(object)
                    }
                }
                try vm.space.validate { object throws(GPUVMError) in
                    check(object)
                    // Evicted behind this exec's back: an object that it has not locked.
                    guard object.reservation.isLocked else { return }
                    vm.space.setEvicted(false, object: object)
                }
            } catch {
                fail("exec: \(error)")
            }
            exec.unlockAll()
        }
    }

    private func check(_ object: GPUVMObject) {
        guard let tracked = object as? PairTests.Tracked else { return fail("a stranger") }
        if tracked.ended.get() != 0 { fail("an object ended under the walk") }
        if tracked.hardReferenceCount < 1 { fail("an object without a holder under the walk") }
    }

    /// Eviction: under the object's reservation alone.
    func evictOne() {
        round += 1
        let object = pool[round % pool.count]
        let context = object.reservation.lock()
        object.setEvicted(true)
        vm.space.forEachMapping(of: object) { va in
            if va.object !== object { fail("a mapping of another object") }
        }
        _ = vm.space.vmBO(of: object)
        object.reservation.unlock(context)
    }
}
