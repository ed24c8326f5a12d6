import Fencing
import GPUVMCore
import TestSupport

// @unchecked: threads of a run take turns.
/// A VM in immediate mode: several threads are bind jobs, others lock, validate, evict and clean up.
///
/// Checked: each request does to the tree what it does to an array of pages; walks meet no object
/// that is gone; lists, counts and references end where they began.
final class ImmediateCore: @unchecked Sendable {
    private final class Locks: Sendable {
        let vm = Lock(.vm)
        let operation = Lock(.vmOperation)
    }

    private let run: Run
    private let vm: GPUVM
    private let root: CoreObject
    private let objects: [CoreObject]
    private let locks = Locks()
    private let isWeak: Bool
    private let clients: Int
    private let rounds: Int
    /// Changes under the operation lock.
    private var model = PageModel()
    /// Objects whose creator's reference was dropped.
    private var dropped: Set<Int> = []
    private let signaller = FenceSignaller()

    init(_ run: Run, _ random: inout SplitMix64) {
        self.run = run
        let root = CoreObject()
        self.root = root
        let external = 2 + random.below(3)
        objects =
            (0..<external).map { _ in CoreObject() }
            + (0..<random.below(3)).map { _ in CoreObject(of: root) }
        isWeak = random.chance(3)
        clients = 2 + random.below(3)
        rounds = 3 + random.below(6)
        do throws(GPUVMError) {
            vm = try GPUVM(
                flags: isWeak ? [.immediateMode, .weakReferences] : .immediateMode, start: 0,
                range: UInt64(PageModel.pageCount) << PageModel.pageShift, reservationObject: root,
                capacity: 128, objectCapacity: 32)
        } catch {
            run.fail("\(error)")
        }
    }

    func execute() {
        let ending = RuntimeThread.start(name: "signaller") { [self] in
            signaller.run(run.random(100))
        }
        run.threads(clients + 2) { [self] index in
            switch index - clients {
            case 0: walk(run.random(200))
            case 1: evict(run.random(300))
            default: bind(run.random(1 + UInt64(index)))
            }
        }
        signaller.end()
        ending?.join()
        locks.vm.withLock { finish() }
        for index in objects.indices where !dropped.contains(index) {
            objects[index].releaseHardReference()
        }
        root.releaseHardReference()
        run.require((objects + [root]).allSatisfy(\.isGone), "a hard reference was leaked")
    }

    private func finish() {
        vm.cleanUpDeferred()
        run.require(PageModel.read(vm, objects, run) == model, "the tree is not what was executed")
        let mapped = objects.indices.filter { model.maps($0) }
        run.require(vm.objectCount == mapped.count, "pairs are left")
        let external = vm.externalObjects
        run.require(
            external.count == mapped.count { !objects[$0].isPrivate }
                && external.allSatisfy { object in mapped.contains { objects[$0] === object } },
            "the external objects are not those mapped")
        for object in vm.evictedObjects {
            run.require(
                mapped.contains { objects[$0] === object }, "what is not mapped is evicted")
        }
        vm.close()
        run.require(vm.objectCount == 0 && vm.mappingCount == 0, "a closed VM has pairs")
    }

    // MARK: - Bind jobs

    private func bind(_ random: SplitMix64) {
        var random = random
        for _ in 0..<rounds {
            let index = random.below(objects.count)
            let first = random.below(PageModel.pageCount)
            let range = first..<(first + 1 + random.below(PageModel.pageCount - first))
            switch random.below(6) {
            case 0, 1: unmap(range)
            case 2: unmapAll(index)
            default: map(index, range, firstPage: random.below(8), preallocates: random.chance(2))
            }
            if random.chance(3) { vm.cleanUpDeferred() }
            run.count("requests")
        }
    }

    private func map(_ index: Int, _ range: Range<Int>, firstPage: Int, preallocates: Bool) {
        let object = objects[index]
        // The handle's reference; a real submission fails with ENOENT.
        guard object.tryAcquireHardReference() else { return }
        defer { object.releaseHardReference() }
        let request = MapRequest(
            address: address(range), range: bytes(range), object: object,
            offset: UInt64(firstPage) << PageModel.pageShift)
        do throws(GPUVMError) {
            var reservation = try vm.reserveImmediate(maps: 1, unmaps: 0)
            if preallocates {
                // Taken out of the optional where it is used up, on the signalling path.
                var memory: PreallocatedVMBO? = try preallocate(object)
                submit(object)
                SignallingSection.run {
                    guard let memory = memory.take() else { return }
                    run(request, index, range, firstPage, vm.obtain(memory), &reservation)
                }
            } else {
                let pair = try obtain(object)
                submit(object)
                SignallingSection.run {
                    run(request, index, range, firstPage, pair, &reservation)
                }
            }
        } catch {
            run.fail("\(error)")
        }
    }

    private func preallocate(
        _ object: GPUVMObject
    ) throws(GPUVMError) -> PreallocatedVMBO {
        locks.vm.lock()
        defer { locks.vm.unlock() }
        return try vm.preallocate(object)
    }

    private func obtain(_ object: GPUVMObject) throws(GPUVMError) -> GPUVMBO.ID {
        locks.vm.lock()
        defer { locks.vm.unlock() }
        return try vm.obtain(object)
    }

    private func run(
        _ request: MapRequest, _ index: Int, _ range: Range<Int>, _ firstPage: Int,
        _ pair: GPUVMBO.ID, _ reservation: inout ImmediateReservation
    ) {
        locks.operation.withLock {
            var seen = Seen()
            vm.executeMap(request, pair: pair, using: &reservation) { seen.note($0) }
            run.require(seen.maps == 1, "a request maps once")
            check(seen, range)
            model.map(range, index, firstPage: firstPage)
        }
        vm.put(pair)
    }

    private func unmap(_ range: Range<Int>) {
        guard var reservation = try? vm.reserveImmediate(maps: 0, unmaps: 1) else {
            run.fail("no room for an unmap")
        }
        SignallingSection.run {
            locks.operation.withLock {
                var seen = Seen()
                vm.executeUnmap(
                    address: address(range), range: bytes(range), using: &reservation
                ) { seen.note($0) }
                run.require(seen.maps == 0, "an unmap maps")
                check(seen, range)
                model.unmap(range)
            }
        }
    }

    private func unmapAll(_ index: Int) {
        guard objects[index].tryAcquireHardReference() else { return }
        defer { objects[index].releaseHardReference() }
        guard var reservation = try? vm.reserveImmediate(maps: 0, unmaps: 0) else {
            run.fail("no room for an unmap of an object")
        }
        SignallingSection.run {
            locks.operation.withLock {
                var seen = Seen()
                vm.executeUnmapObject(objects[index], using: &reservation) { seen.note($0) }
                run.require(
                    seen.removed == model.mappedPages(of: index), "not all of an object went")
                model.unmapAll(index)
            }
        }
    }

    /// What the ops of one request took away.
    private struct Seen {
        var maps = 0
        /// Pages.
        var removed = 0

        mutating func note(_ op: GPUVAOp) {
            switch op {
            case .map: maps += 1
            case .unmap(let unmap): removed += Int(unmap.va.range >> PageModel.pageShift)
            case .remap(let remap):
                let kept = (remap.previous?.range ?? 0) + (remap.next?.range ?? 0)
                removed += Int((remap.va.range - kept) >> PageModel.pageShift)
            case .prefetch: break
            }
        }
    }

    private func check(_ seen: Seen, _ range: Range<Int>) {
        run.require(
            seen.removed == range.count { model.pages[$0] != nil },
            "a request removed other pages than were mapped")
    }

    private func address(_ range: Range<Int>) -> UInt64 {
        UInt64(range.lowerBound) << PageModel.pageShift
    }

    private func bytes(_ range: Range<Int>) -> UInt64 {
        UInt64(range.count) << PageModel.pageShift
    }

    /// Locks as a submission does, and adds its fence.
    private func submit(_ object: GPUVMObject) {
        locks.vm.withLock {
            var exec = ExecLocking(ignoresDuplicates: true)
            do throws(GPUVMError) {
                try exec.untilAllLocked { exec throws(GPUVMError) in
                    try exec.prepareVM(vm, slots: 1)
                    try exec.prepare(object, slots: 1)
                }
            } catch {
                run.fail("\(error)")
            }
            let fence = FenceContext().makeFence()
            exec.addFence(fence, vm: vm, privateUsage: .bookkeep, externalUsage: .bookkeep)
            signaller.push(fence)
        }
    }

    // MARK: - Others

    /// Locks the VM and its external objects and validates, while jobs change both lists.
    private func walk(_ random: SplitMix64) {
        var random = random
        for _ in 0..<rounds {
            let fails = random.chance(6)
            locks.vm.withLock {
                if random.chance(2) { walkExternal() }
                var exec = ExecLocking(ignoresDuplicates: true)
                do throws(GPUVMError) {
                    try exec.untilAllLocked { exec throws(GPUVMError) in
                        try exec.prepareVM(vm, slots: 1)
                        try exec.prepareExternalObjects(of: vm, slots: 1)
                        try vm.validate { object throws(GPUVMError) in
                            try validate(object, fails: fails)
                        }
                    }
                    exec.forEachLocked { object in
                        guard let object = object as? CoreObject else { return }
                        run.require(!object.isGone, "an object that is gone is locked")
                    }
                    let fence = FenceContext().makeFence()
                    exec.addFence(fence, vm: vm, privateUsage: .bookkeep, externalUsage: .write)
                    signaller.push(fence)
                } catch {
                    run.require(error == .validationFailed(errno: 12) && fails, "\(error)")
                }
            }
            run.count("walks")
        }
    }

    /// What a walk gives to its body lives until the body returns.
    private func walkExternal() {
        try? vm.forEachExternalObject { object in
            guard let object = object as? CoreObject else { run.fail("an unknown object") }
            run.require(!object.isGone, "a walk meets an object that is gone")
            for _ in 0..<4 { locks.operation.withLock {} }
            run.require(!object.isGone, "an object goes while a walk has it")
        }
    }

    private func validate(_ object: GPUVMObject, fails: Bool) throws(GPUVMError) {
        guard let object = object as? CoreObject else { run.fail("an unknown object") }
        run.require(!object.isGone, "validation of an object that is gone")
        if fails { throw .validationFailed(errno: 12) }
        // A pair that came after the walk over the external objects is not locked.
        guard object.reservation.isLocked else { return }
        object.setEvicted(false)
        run.require(!object.isGone, "an object goes while it is validated")
        run.count("validated")
    }

    /// Memory management: marks with the object's reservation alone, and walks mappings.
    private func evict(_ random: SplitMix64) {
        var random = random
        for _ in 0..<(2 * rounds) {
            let index = random.below(objects.count)
            let object = objects[index]
            guard object.tryAcquireHardReference() else { continue }
            let context = object.reservation.lock()
            object.setEvicted(!random.chance(4))
            vm.forEachMapping(of: object) { va in
                run.require(va.object === object, "a mapping of another object")
            }
            object.reservation.unlock(context)
            object.releaseHardReference()
            if random.chance(4), dropped.insert(index).inserted { object.releaseHardReference() }
            run.count("evictions")
        }
    }
}
