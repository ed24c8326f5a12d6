import Fencing
import GPUVMCore
import TestSupport

// @unchecked: threads of a run take turns.
/// Exec locking of several VMs that share objects: all its forms, victims, eviction marks and
/// validation, cancellation, fences, and objects that die while a weak VM maps them.
final class ExecLocks: @unchecked Sendable {
    /// An object, and what is known of it.
    private final class Object: GPUVMObject, @unchecked Sendable {
        // @unchecked: as the scenario.
        /// The fences of its reservation.
        let model: FenceModel
        let isPrivate: Bool
        /// The creator's reference was dropped.
        var isDropped = false
        /// The last reference was.
        var isGone = false

        /// - Parameter root: Whose reservation a private object shares.
        init(root: Object? = nil) {
            isPrivate = root != nil
            model = root?.model ?? FenceModel()
            super.init(reservation: root?.reservation ?? Reservation())
        }

        override func lastHardReferenceDropped() { isGone = true }
    }

    /// A VM and what it should be.
    private struct Space {
        let vm: GPUVM
        let root: Object
        /// Which object each page shows.
        var pages: [Int?] = Array(repeating: nil, count: ExecLocks.pages)
        /// The mark of each object's pair.
        var isEvicted: [Bool]

        func maps(_ index: Int) -> Bool { pages.contains(index) }
    }

    private final class VMLock: Sendable {
        let lock = Lock(.vm)
    }

    private static let pages = 20

    private let run: Run
    private var spaces: [Space] = []
    private let locks: [VMLock]
    private var objects: [Object] = []
    /// Which attempt has each reservation.
    private var owners: [ObjectIdentifier: UInt64] = [:]
    private var cancellations: [Cancellation] = []
    private let signaller = FenceSignaller()
    private let clients: Int
    private let rounds: Int

    init(_ run: Run, _ random: inout SplitMix64) {
        self.run = run
        let count = 1 + random.below(3)
        locks = (0..<count).map { _ in VMLock() }
        clients = 2 + random.below(3)
        rounds = 2 + random.below(6)
        let roots = (0..<count).map { _ in Object() }
        for _ in 0..<(2 + random.below(4)) { objects.append(Object()) }
        for root in roots {
            for _ in 0..<random.below(3) { objects.append(Object(root: root)) }
        }
        for root in roots { makeSpace(root, &random) }
    }

    private func makeSpace(_ root: Object, _ random: inout SplitMix64) {
        var flags: GPUVMFlags = []
        if !random.chance(3) { flags.insert(.reservationProtected) }
        if random.chance(3) { flags.insert(.weakReferences) }
        do throws(GPUVMError) {
            let vm = try GPUVM(
                flags: flags, start: 0, range: UInt64(Self.pages) << 12, reservationObject: root,
                capacity: 256, objectCapacity: 64)
            spaces.append(
                Space(
                    vm: vm, root: root, isEvicted: Array(repeating: false, count: objects.count)))
            for page in 0..<Self.pages where random.chance(2) {
                let index = random.below(objects.count)
                guard belongs(index, to: spaces.count - 1) else { continue }
                try vm.insert(
                    MapRequest(
                        address: UInt64(page) << 12, range: 1 << 12, object: objects[index],
                        offset: 0))
                spaces[spaces.count - 1].pages[page] = index
            }
        } catch {
            run.fail("\(error)")
        }
    }

    private func belongs(_ index: Int, to space: Int) -> Bool {
        !objects[index].isPrivate
            || objects[index].reservation === spaces[space].root.reservation
    }

    func execute() {
        let ending = RuntimeThread.start(name: "signaller") { [self] in
            signaller.run(run.random(100))
        }
        run.threads(clients + 2) { [self] index in
            switch index - clients {
            case 0: cancelSome(run.random(200))
            case 1: evictSome(run.random(300))
            default: client(run.random(1 + UInt64(index)))
            }
        }
        signaller.end()
        ending?.join()
        for (space, lock) in zip(spaces, locks) { lock.lock.withLock { space.vm.close() } }
        for object in objects + spaces.map(\.root) {
            if !object.isDropped { object.releaseHardReference() }
            run.require(object.isGone, "a hard reference was leaked")
            run.require(!object.reservation.isLocked, "a reservation stays locked")
            run.require(object.reservation.contention.waiters.isEmpty, "a waiter was forgotten")
            run.require(object.reservation.isIdle(.bookkeep), "a fence stays")
            run.require(object.vms.isEmpty, "a closed VM is on an object's list")
        }
        run.require(owners.isEmpty, "an owner was forgotten")
    }

    // MARK: - Others than clients

    private func cancelSome(_ random: SplitMix64) {
        var random = random
        for _ in 0..<(2 * rounds) {
            _ = Runtime.now()
            if let cancellation = cancellations.randomElement(using: &random), random.chance(2) {
                cancellation.cancel()
            }
        }
    }

    /// Marks pairs and walks mappings with the object's reservation and no VM lock, as memory
    /// management does; sometimes drops an object.
    private func evictSome(_ random: SplitMix64) {
        var random = random
        for _ in 0..<(2 * rounds) {
            let index = random.below(objects.count)
            let object = objects[index]
            guard object.tryAcquireHardReference() else { continue }
            let context = object.reservation.lock()
            take(object.reservation, context.stamp)
            object.model.check(object.reservation, run)
            mark(index, !random.chance(3), in: random.chance(3) ? random.below(spaces.count) : nil)
            for space in spaces.indices {
                var count = 0
                spaces[space].vm.forEachMapping(of: object) { va in
                    count += Int(va.range >> 12)
                    run.require(va.object === object, "a mapping of another object")
                }
                run.require(
                    count == spaces[space].pages.count { $0 == index }, "an object's mappings")
            }
            give(object.reservation, context.stamp)
            object.reservation.unlock(context)
            object.releaseHardReference()
            if random.chance(8), !object.isDropped {
                object.isDropped = true
                object.releaseHardReference()
                run.count("dropped")
            }
            run.count("evictions")
        }
    }

    /// Marks the pairs of an object, in one VM or in all; its reservation is held.
    private func mark(_ index: Int, _ isEvicted: Bool, in only: Int? = nil) {
        if let only {
            spaces[only].vm.setEvicted(isEvicted, object: objects[index])
        } else {
            objects[index].setEvicted(isEvicted)
        }
        for space in spaces.indices where only == nil || only == space {
            if spaces[space].maps(index) { spaces[space].isEvicted[index] = isEvicted }
            run.require(
                spaces[space].vm.isEvicted(objects[index]) == spaces[space].isEvicted[index],
                "the mark of a pair")
        }
    }

    private func take(_ reservation: Reservation, _ stamp: UInt64) {
        let id = ObjectIdentifier(reservation)
        run.require(owners[id] == nil, "a reservation has two owners")
        owners[id] = stamp
    }

    private func give(_ reservation: Reservation, _ stamp: UInt64) {
        run.require(
            owners.removeValue(forKey: ObjectIdentifier(reservation)) == stamp,
            "a reservation changed its owner")
    }

    // MARK: - Clients

    private func client(_ random: SplitMix64) {
        var random = random
        let fences = FenceContext()
        for _ in 0..<rounds {
            let space = random.below(spaces.count)
            locks[space].lock.withLock { submit(space, fences, &random) }
        }
    }

    private func submit(_ space: Int, _ fences: FenceContext, _ random: inout SplitMix64) {
        let vm = spaces[space].vm
        let cancellation = random.chance(5) ? Cancellation() : nil
        if let cancellation { cancellations.append(cancellation) }
        var exec = ExecLocking(ignoresDuplicates: true, cancellation: cancellation)
        let form = random.below(6)
        let first = random.below(Self.pages)
        let count = 1 + random.below(Self.pages - first)
        let (address, range) = (UInt64(first) << 12, UInt64(count) << 12)
        let index = random.below(objects.count)
        // A reference on what this names itself, as a handle would be.
        let isHeld = objects[index].tryAcquireHardReference()
        defer { if isHeld { objects[index].releaseHardReference() } }
        let canMap = isHeld && belongs(index, to: space)
        let request = MapRequest(address: address, range: range, object: objects[index], offset: 0)
        var ops = OpList()
        do throws(GPUVMError) {
            switch form {
            case 0:
                try exec.lockVM(vm, extras: isHeld ? [objects[index]] : [], slots: 1)
                if isHeld {
                    run.require(exec.holds(objects[index].reservation), "an extra is not locked")
                }
            case 1:
                // What is drawn in the body differs from one run of it to the next.
                try exec.untilAllLocked { exec throws(GPUVMError) in
                    try exec.prepareVM(vm, slots: 1)
                    try exec.prepareExternalObjects(of: vm, slots: 1)
                    try validate(space, fails: random.chance(8))
                    if random.chance(2) { try lockVictims(&exec, &random) }
                }
            case 2:
                try exec.untilAllLocked { exec throws(GPUVMError) in
                    try exec.prepareVM(vm, slots: 1)
                    try exec.prepareTouched(of: vm, address: address, range: range, slots: 1)
                }
            case 3:
                try exec.untilAllLocked { exec throws(GPUVMError) in
                    try exec.prepareRange(of: vm, address: address, range: range, slots: 1)
                }
            case 4 where canMap:
                try exec.untilAllLocked { exec throws(GPUVMError) in
                    try exec.prepareMap(request, in: vm, slots: 1, planningInto: &ops)
                }
            default:
                try exec.untilAllLocked { exec throws(GPUVMError) in
                    try exec.prepareUnmap(
                        address: address, range: range, in: vm, planningInto: &ops)
                }
            }
            run.count("submissions")
        } catch {
            run.require(exec.lockedObjects.isEmpty, "locks are left after \(error)")
            switch error {
            case .interrupted:
                run.require(cancellation?.isCancelled == true, "interrupted by nobody")
                run.count("interrupted")
            case .validationFailed(errno: 12) where form == 1: run.count("failed validations")
            default: run.fail("\(error)")
            }
            return
        }
        run.count("back-offs", UInt64(exec.backOffCount))
        let stamp = exec.stamp
        let held = exec.lockedObjects
        for object in held {
            run.require(exec.holds(object.reservation), "what is listed is not locked")
            take(object.reservation, stamp)
        }
        checkLocked(space, form, first..<(first + count), exec)
        if form >= 4 {
            apply(&ops, space, first..<(first + count), form == 4 && canMap ? index : nil)
        }
        addFence(fences.makeFence(), space, exec, mustHaveSlots: form < 4)
        for object in held { give(object.reservation, stamp) }
        exec.unlockAll()
        checkLists(space)
    }

    /// What must be locked, is.
    private func checkLocked(
        _ space: Int, _ form: Int, _ range: Range<Int>, _ exec: borrowing ExecLocking
    ) {
        if form <= 2 {
            run.require(exec.holds(spaces[space].vm.reservation), "the VM is not locked")
        }
        let wanted = form <= 1 ? spaces[space].pages[...] : spaces[space].pages[range]
        for index in wanted {
            guard let index, !objects[index].isGone else { continue }
            run.require(exec.holds(objects[index].reservation), "a mapped object is not locked")
        }
    }

    private func validate(_ space: Int, fails: Bool) throws(GPUVMError) {
        let vm = spaces[space].vm
        var expected = Set(
            objects.indices.filter {
                spaces[space].maps($0) && spaces[space].isEvicted[$0] && !objects[$0].isGone
            })
        try vm.validate { object throws(GPUVMError) in
            guard let index = objects.firstIndex(where: { $0 === object }) else {
                run.fail("validation of an unknown object")
            }
            if objects[index].isGone { return }
            // What became resident without the VM's reservation stays on a protected list.
            let mayBeStale = vm.flags.contains(.reservationProtected) && !objects[index].isPrivate
            run.require(
                expected.contains(index) || (mayBeStale && spaces[space].maps(index)),
                "validation of an object that is resident")
            if fails { throw .validationFailed(errno: 12) }
            expected.remove(index)
            mark(index, false)
            run.count("validated")
        }
        // A private object can die under the VM's reservation.
        run.require(
            expected.allSatisfy { objects[$0].isGone },
            """
            evicted objects \(expected.sorted()) of \(vm.flags) were not validated; listed: \
            \(vm.evictedObjects.compactMap { o in objects.firstIndex { $0 === o } })
            """)
    }

    private func lockVictims(
        _ exec: inout ExecLocking, _ random: inout SplitMix64
    ) throws(GPUVMError) {
        for _ in 0...random.below(2) {
            let index = random.below(objects.count)
            let object = objects[index]
            let wasHeld = exec.holds(object.reservation)
            let isWaiting = random.chance(2)
            guard try exec.lockVictim(object, waiting: isWaiting) else {
                run.require(wasHeld || !isWaiting, "a victim was not waited for")
                continue
            }
            run.count("victims")
            run.require(exec.holds(object.reservation), "a victim is not locked")
            if random.chance(2), !object.isGone { mark(index, true) }
            if random.chance(3) {
                exec.unlockVictim(object)
                run.require(!exec.holds(object.reservation), "a victim stays locked")
            }
        }
    }

    private func apply(_ ops: inout OpList, _ space: Int, _ range: Range<Int>, _ index: Int?) {
        do throws(GPUVMError) {
            try spaces[space].vm.apply(&ops)
        } catch {
            run.fail("\(error)")
        }
        for page in range { spaces[space].pages[page] = nil }
        // A pair that ends takes its mark along, also if the request then makes a new one.
        for other in objects.indices where !spaces[space].maps(other) {
            spaces[space].isEvicted[other] = false
        }
        if let index { for page in range { spaces[space].pages[page] = index } }
        run.count("binds")
    }

    private func addFence(
        _ fence: Fence, _ space: Int, _ exec: borrowing ExecLocking, mustHaveSlots: Bool
    ) {
        let vm = spaces[space].vm
        exec.addFence(fence, vm: vm, privateUsage: .bookkeep, externalUsage: .write)
        exec.forEachLocked { object in
            guard let object = object as? Object else { return }
            let usage = object.reservation.usage(of: fence)
            let isExternal = object.reservation !== vm.reservation
            if usage == nil, !mustHaveSlots { return }
            run.require(usage == (isExternal ? .write : .bookkeep), "the usage of a fence")
            if let usage { object.model.add(fence, usage) }
            object.model.check(object.reservation, run)
        }
        signaller.push(fence)
    }

    /// The external objects are those mapped; the VM's lock is held.
    private func checkLists(_ space: Int) {
        let listed = spaces[space].vm.externalObjects
        let expected = objects.indices.filter { spaces[space].maps($0) && !objects[$0].isPrivate }
        run.require(listed.count == expected.count, "the number of external objects")
        for index in expected {
            run.require(
                listed.contains { $0 === objects[index] }, "an external object is not listed")
        }
        run.require(
            spaces[space].vm.mappingCount <= Self.pages, "more mappings than pages")
    }
}
