import Fencing
import GPUVMCore
import TestSupport

// @unchecked: threads of a run take turns.
/// A VM in normal mode: transactions that are committed or rolled back under all reservations, with
/// eviction marks and walks from other threads in between.
///
/// Checked: a commit leaves what the requests say, a rollback leaves everything as it was, lists and
/// marks included; in the end every reference is given back.
final class TransactionCore: @unchecked Sendable {
    private final class VMLock: Sendable {
        let lock = Lock(.vm)
    }

    private let run: Run
    private let vm: GPUVM
    private let root: CoreObject
    private let objects: [CoreObject]
    private let vmLock = VMLock()
    private let clients: Int
    private let rounds: Int
    private var model = PageModel()

    init(_ run: Run, _ random: inout SplitMix64) {
        self.run = run
        let root = CoreObject()
        self.root = root
        let external = 2 + random.below(3)
        objects =
            (0..<external).map { _ in CoreObject() }
            + (0..<random.below(3)).map { _ in CoreObject(of: root) }
        clients = 2 + random.below(2)
        rounds = 3 + random.below(6)
        let flags: [GPUVMFlags] = [
            [], .reservationProtected, [.reservationProtected, .weakReferences],
        ]
        do throws(GPUVMError) {
            vm = try GPUVM(
                flags: flags[random.below(3)], start: 0,
                range: UInt64(PageModel.pageCount) << PageModel.pageShift, reservationObject: root,
                capacity: 128, objectCapacity: 32)
        } catch {
            run.fail("\(error)")
        }
    }

    func execute() {
        run.threads(clients + 1) { [self] index in
            if index == clients {
                evict(run.random(300))
            } else {
                client(run.random(1 + UInt64(index)))
            }
        }
        vmLock.lock.withLock {
            run.require(PageModel.read(vm, objects, run) == model, "the tree at the end")
            vm.close()
        }
        for object in objects + [root] {
            object.releaseHardReference()
            run.require(object.isGone, "a hard reference was leaked")
        }
    }

    private func evict(_ random: SplitMix64) {
        var random = random
        for _ in 0..<(2 * rounds) {
            let index = random.below(objects.count)
            let object = objects[index]
            let context = object.reservation.lock()
            object.setEvicted(!random.chance(3))
            var pages = 0
            vm.forEachMapping(of: object) { pages += Int($0.range >> PageModel.pageShift) }
            run.require(pages == model.mappedPages(of: index), "the mappings of an object")
            object.reservation.unlock(context)
            run.count("evictions")
        }
    }

    private func client(_ random: SplitMix64) {
        var random = random
        for _ in 0..<rounds {
            vmLock.lock.withLock { submit(&random) }
        }
    }

    private func submit(_ random: inout SplitMix64) {
        var exec = ExecLocking(ignoresDuplicates: true)
        do throws(GPUVMError) {
            try exec.untilAllLocked { exec throws(GPUVMError) in
                try exec.prepareVM(vm, slots: 1)
                try exec.prepare(objects, slots: 1)
            }
            let before = Snapshot(vm, objects)
            var next = model
            let index = random.below(objects.count)
            // A pair that is obtained outlives its mappings.
            let pair = random.chance(3) ? try vm.obtain(objects[index]) : nil
            vm.begin()
            for _ in 0...random.below(3) { try request(&next, &random) }
            if random.chance(3) {
                vm.rollback()
                if let pair { vm.put(pair) }
                let after = Snapshot(vm, objects)
                run.require(before == after, "a rollback changed \(before) to \(after)")
                run.count("rollbacks")
            } else {
                vm.commit()
                if let pair { vm.put(pair) }
                model = next
                var released: [GPUVMObject] = []
                vm.takeReleased(into: &released)
                run.count("commits")
            }
        } catch {
            run.fail("\(error)")
        }
        run.require(PageModel.read(vm, objects, run) == model, "the tree after a transaction")
        let listed = vm.externalObjects
        let mapped = objects.indices.filter { model.maps($0) && !objects[$0].isPrivate }
        run.require(
            listed.count == mapped.count
                && mapped.allSatisfy { index in listed.contains { $0 === objects[index] } },
            "the external objects are not those mapped")
        exec.unlockAll()
    }

    private func request(
        _ model: inout PageModel, _ random: inout SplitMix64
    ) throws(GPUVMError) {
        var ops = OpList()
        let index = random.below(objects.count)
        let first = random.below(PageModel.pageCount)
        let range = first..<(first + 1 + random.below(PageModel.pageCount - first))
        let address = UInt64(first) << PageModel.pageShift
        let bytes = UInt64(range.count) << PageModel.pageShift
        switch random.below(5) {
        case 0:
            try vm.planUnmap(address: address, range: bytes, into: &ops)
            model.unmap(range)
        case 1 where model.maps(index):
            try vm.planUnmapObject(objects[index], into: &ops)
            model.unmapAll(index)
        default:
            let page = random.below(8)
            try vm.planMap(
                MapRequest(
                    address: address, range: bytes, object: objects[index],
                    offset: UInt64(page) << PageModel.pageShift), into: &ops)
            model.map(range, index, firstPage: page)
        }
        try vm.apply(&ops)
    }

    /// All that a rollback must restore.
    private struct Snapshot: Equatable {
        var mappings: [[UInt64]] = []
        var external: [Int] = []
        var evicted: [Int] = []
        var marks: [Bool] = []
        var references: [Int] = []

        init(_ vm: GPUVM, _ objects: [CoreObject]) {
            func number(_ object: GPUVMObject?) -> Int {
                objects.firstIndex { $0 === object } ?? -1
            }
            vm.forEachVA { va in
                mappings.append([
                    va.address, va.range, va.offset, UInt64(bitPattern: Int64(number(va.object))),
                ])
                return true
            }
            external = vm.externalObjects.map { number($0) }
            evicted = vm.evictedObjects.map { number($0) }
            marks = objects.map { vm.isEvicted($0) }
            references = objects.map(\.hardReferenceCount)
        }
    }
}
