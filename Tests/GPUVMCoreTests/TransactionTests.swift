import Fencing
import GPUVMCore
import TestSupport
import Testing

/// A rollback brings back exactly what was there.
@Suite struct TransactionTests {
    static let modes: [GPUVMFlags] = [
        [], .reservationProtected, .immediateMode, [.reservationProtected, .immediateMode],
    ]

    struct Request {
        var isMap: Bool
        var address: UInt64
        var range: UInt64
        var object: Int
        var offset: UInt64
    }

    private func makeRequests(
        _ random: inout SplitMix64, count: Int, zeroRanges: Bool
    ) -> [Request] {
        (0..<count).map { _ in
            Request(
                isMap: random.next() % 4 != 0, address: 0x1000 + (random.next() % 60) << 12,
                range: zeroRanges && random.next() % 6 == 0 ? 0 : (1 + random.next() % 12) << 12,
                object: Int(random.next() % 6), offset: (random.next() % 64) << 12)
        }
    }

    private func carryOut(
        _ request: Request, _ vm: GPUVM, _ objects: [GPUVMObject], _ ops: inout OpList
    ) throws {
        if request.isMap {
            try vm.planMap(
                MapRequest(
                    address: request.address, range: request.range,
                    object: request.object == 0 ? nil : objects[request.object - 1],
                    offset: request.offset, flags: .user(request.object)), into: &ops)
        } else if request.object != 0 && request.offset == 0 {
            guard vm.vmBO(of: objects[request.object - 1]) != nil else { return }
            try vm.planUnmapObject(objects[request.object - 1], into: &ops)
        } else {
            try vm.planUnmap(address: request.address, range: request.range, into: &ops)
        }
        try vm.apply(&ops, carrying: .userMask)
    }

    @Test(arguments: 0..<4, [21, 22, 23] as [UInt64])
    func rollbackAtEveryStep(mode: Int, seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        let vm = try GPUVM(
            flags: Self.modes[mode], start: 0, range: 1 << 30, reservedStart: 1 << 20,
            reservedRange: 1 << 12, capacity: 4096)
        defer { vm.close() }
        let objects = (0..<5).map { index in
            index % 2 == 0 ? GPUVMObject() : GPUVMObject(reservation: vm.reservation)
        }
        var ops = OpList()
        for round in 0..<20 {
            let requests = makeRequests(&random, count: 6, zeroRanges: seed == 23)
            if round % 4 == 1 {
                let object = objects[Int(random.next() % 5)]
                let context = object.reservation.lock()
                object.setEvicted(round % 8 == 1)
                object.reservation.unlock(context)
            }
            let before = SpaceSnapshot(vm, objects)
            for stop in 0...requests.count {
                vm.begin()
                for request in requests[..<stop] {
                    try carryOut(request, vm, objects, &ops)
                }
                if stop > 2, let va = vm.findFirst(address: 0, range: 1 << 30) {
                    vm.setFlags(.invalidated, of: va)
                }
                vm.rollback()
                let after = SpaceSnapshot(vm, objects)
                try #require(after == before, "seed \(seed) round \(round) stop \(stop)")
            }
            // What was rolled back often can still be carried out, with the same result as on a VM
            // that never saw a rollback.
            vm.begin()
            for request in requests { try carryOut(request, vm, objects, &ops) }
            vm.commit()
            if round % 5 == 4 { vm.cleanUpDeferred() }
        }
        #expect(vm.isInTransaction == false)
    }

    /// A VM that rolls back between the requests and one that does not end up the same.
    @Test(arguments: 0..<4)
    func rollbacksLeaveNoTrace(mode: Int) throws {
        let plain = try GPUVM(
            flags: Self.modes[mode], start: 0, range: 1 << 30, capacity: 4096)
        let tried = try GPUVM(
            flags: Self.modes[mode], start: 0, range: 1 << 30, capacity: 4096)
        defer {
            plain.close()
            tried.close()
        }
        let plainObjects = (0..<5).map { index in
            index % 2 == 0 ? GPUVMObject() : GPUVMObject(reservation: plain.reservation)
        }
        let triedObjects = (0..<5).map { index in
            index % 2 == 0 ? GPUVMObject() : GPUVMObject(reservation: tried.reservation)
        }
        var random = SplitMix64(seed: 31)
        var ops = OpList()
        for step in 0..<200 {
            let request = makeRequests(&random, count: 1, zeroRanges: false)[0]
            try carryOut(request, plain, plainObjects, &ops)
            tried.begin()
            for other in makeRequests(&random, count: 3, zeroRanges: false) {
                try carryOut(other, tried, triedObjects, &ops)
            }
            tried.rollback()
            try carryOut(request, tried, triedObjects, &ops)
            var expected = SpaceSnapshot(plain, plainObjects)
            var actual = SpaceSnapshot(tried, triedObjects)
            // Only the names of the records may differ.
            for index in expected.mappings.indices { expected.mappings[index].id = 0 }
            for index in actual.mappings.indices { actual.mappings[index].id = 0 }
            try #require(actual == expected, "step \(step)")
        }
    }

    @Test func equalStartsKeepTheirOrder() throws {
        let vm = try GPUVM(start: 0, range: 1 << 30, capacity: 64)
        defer { vm.close() }
        let object = GPUVMObject()
        try vm.insert(MapRequest(address: 0x5000, range: 0x1000, object: object, offset: 0))
        for offset in 1...3 as ClosedRange<UInt64> {
            try vm.insert(MapRequest(address: 0x5000, range: 0, object: object, offset: offset))
        }
        let before = SpaceSnapshot(vm, [object])
        var ops = OpList()
        vm.begin()
        try vm.planUnmapObject(object, into: &ops)
        try vm.apply(&ops)
        #expect(vm.mappingCount == 0)
        vm.rollback()
        #expect(SpaceSnapshot(vm, [object]) == before)
    }

    @Test func commitHandsOverWhatLostMappings() throws {
        let vm = try GPUVM(start: 0, range: 1 << 30, capacity: 64)
        defer { vm.close() }
        weak var weakObject: GPUVMObject?
        var released: [GPUVMObject] = []
        var ops = OpList()
        do {
            let object = GPUVMObject()
            weakObject = object
            for page in 0..<4 as Range<UInt64> {
                try vm.insert(
                    MapRequest(address: page << 12, range: 1 << 12, object: object, offset: 0))
            }
            object.releaseHardReference()
        }
        #expect(weakObject?.hardReferenceCount == 1)
        vm.begin()
        try vm.planUnmap(address: 0, range: 1 << 14, into: &ops)
        try vm.apply(&ops)
        vm.commit()
        // A later rollback does not lose what a commit released.
        let other = GPUVMObject()
        try vm.insert(MapRequest(address: 0, range: 1 << 12, object: other, offset: 0))
        vm.begin()
        try vm.planUnmapObject(other, into: &ops)
        try vm.apply(&ops)
        vm.rollback()
        try vm.remove(address: 0, range: 1 << 12)
        vm.takeReleased(into: &released)
        #expect(released.count == 1 && released.first === weakObject)
        #expect(weakObject?.hardReferenceCount == 0)
        released = []
        #expect(weakObject == nil)
        #expect(vm.referenceCount == 1)
    }
}
