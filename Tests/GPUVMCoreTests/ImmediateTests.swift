import GPUVMCore
import TestSupport
import Testing

/// Requests executed mapping by mapping do what plans that are applied do.
@Suite struct ImmediateTests {
    /// An op without its VA's name.
    private struct Step: Equatable {
        var kind: String
        var va: [UInt64] = []
        var object = -1
        var pieces: [GPUVAOp.Piece?] = []
        var keep = false
        var overlap: Int?
        var flags: UInt32 = 0

        init(_ op: GPUVAOp, _ objects: [GPUVMObject]) {
            func index(_ object: GPUVMObject?) -> Int {
                objects.firstIndex { $0 === object } ?? -1
            }
            overlap = op.overlapCase?.number
            switch op {
            case .map(let map):
                kind = "map"
                pieces = [map.piece]
                object = index(map.object)
                flags = map.flags.rawValue
            case .remap(let remap):
                kind = "remap"
                va = [remap.va.address, remap.va.range, remap.va.offset]
                pieces = [remap.previous, remap.next]
                object = index(remap.va.object)
                keep = remap.keep
                flags = remap.va.flags.rawValue
            case .unmap(let unmap):
                kind = "unmap"
                va = [unmap.va.address, unmap.va.range, unmap.va.offset]
                object = index(unmap.va.object)
                keep = unmap.keep
                flags = unmap.va.flags.rawValue
            case .prefetch: kind = "prefetch"
            }
        }
    }

    private static let pages = 160
    private static let base: UInt64 = 0x40000

    private func makeObjects(_ vm: GPUVM) -> [GPUVMObject] {
        (0..<7).map { index in
            index % 2 == 0 ? GPUVMObject(reservation: vm.reservation) : GPUVMObject()
        }
    }

    /// The plan's way, with the pair obtained before it and put behind it.
    private func apply(
        _ vm: GPUVM, _ request: MapRequest?, _ range: (UInt64, UInt64), _ unmapped: GPUVMObject?,
        _ objects: [GPUVMObject], _ ops: inout OpList
    ) throws -> [Step] {
        var steps: [Step] = []
        let pair = try request?.object.map { try vm.obtain($0) }
        if let request {
            try vm.planMap(request, into: &ops)
        } else if let unmapped {
            if vm.vmBO(of: unmapped) == nil { return [] }
            try vm.planUnmapObject(unmapped, into: &ops)
        } else {
            try vm.planUnmap(address: range.0, range: range.1, into: &ops)
        }
        ops.forEach { steps.append(Step($0, objects)) }
        try vm.apply(&ops, carrying: .user(1))
        if let pair { vm.put(pair) }
        return steps
    }

    private func snapshot(_ vm: GPUVM, _ objects: [GPUVMObject]) -> SpaceSnapshot {
        var snapshot = SpaceSnapshot(vm, objects)
        for index in snapshot.mappings.indices { snapshot.mappings[index].id = 0 }
        return snapshot
    }

    @Test(arguments: [false, true], [81, 82, 83, 84] as [UInt64])
    func likePlans(isProtected: Bool, seed: UInt64) throws {
        let flags: GPUVMFlags =
            isProtected ? [.immediateMode, .reservationProtected] : .immediateMode
        let immediate = try ImmediateVM(
            flags, start: Self.base, range: UInt64(Self.pages + 1) << 12,
            reservedStart: Self.base + UInt64(Self.pages) << 12, reservedRange: 1 << 12)
        let normal = try GPUVM(
            flags: isProtected ? .reservationProtected : [], start: Self.base,
            range: UInt64(Self.pages + 1) << 12,
            reservedStart: Self.base + UInt64(Self.pages) << 12, reservedRange: 1 << 12,
            capacity: 4096)
        defer {
            immediate.space.close()
            normal.close()
        }
        let objects = (makeObjects(normal), makeObjects(immediate.space))
        var model = PaintedModelTests.Model()
        var random = SplitMix64(seed: seed)
        var ops = OpList()
        var mostUsed = (map: 0, unmap: 0)
        for step in 0..<1000 {
            let comment: Comment = "seed \(seed) step \(step)"
            let first = Int(random.next() % UInt64(Self.pages))
            let count = 1 + Int(random.next() % UInt64(min(Self.pages - first, 24)))
            let address = Self.base + UInt64(first) << 12
            let range = UInt64(count) << 12
            let object = Int(random.next() % 8)
            let kind = random.next() % 8
            // Half of the offsets continue each other, so that `keep` happens.
            let page = random.next() % 2 == 0 ? UInt64(first) : random.next() % 500
            func request(_ objects: [GPUVMObject]) -> MapRequest {
                MapRequest(
                    address: address, range: range, object: object == 0 ? nil : objects[object - 1],
                    offset: page << 12, flags: GPUVAFlags(rawValue: UInt32(page % 16) << 2))
            }
            var steps: [Step] = []
            let expected: [Step]
            if kind < 5 {
                expected = try apply(normal, request(objects.0), (0, 0), nil, objects.0, &ops)
                let used = try immediate.map(request(objects.1), carrying: .user(1)) {
                    steps.append(Step($0, objects.1))
                }
                mostUsed.map = max(mostUsed.map, used)
                model.fill(first..<(first + count), object, page)
            } else if kind < 7 || object == 0 {
                expected = try apply(normal, nil, (address, range), nil, objects.0, &ops)
                let used = try immediate.unmap(address, range, carrying: .user(1)) {
                    steps.append(Step($0, objects.1))
                }
                mostUsed.unmap = max(mostUsed.unmap, used)
                model.fill(first..<(first + count), nil, 0)
            } else {
                expected = try apply(
                    normal, nil, (0, 0), objects.0[object - 1], objects.0, &ops)
                try immediate.unmap(objects.1[object - 1]) { steps.append(Step($0, objects.1)) }
                for page in 0..<Self.pages where model.paint[page]?.object == object {
                    model.fill(page..<(page + 1), nil, 0)
                }
            }
            try #require(steps == expected, comment)
            if step % 7 == 3 { evictSome(&random, objects) }
            immediate.space.cleanUpDeferred()
            try #require(
                snapshot(immediate.space, objects.1) == snapshot(normal, objects.0), comment)
            try #require(read(immediate.space, objects.1) == model.paint, comment)
        }
        // The worst case is met, and is not more than what is reserved for it.
        #expect(mostUsed == (3, 2), "seed \(seed)")
        try checkCapacity(immediate.space)
    }

    private func evictSome(
        _ random: inout SplitMix64, _ objects: ([GPUVMObject], [GPUVMObject])
    ) {
        let index = Int(random.next() % 7)
        let isEvicted = random.next() % 2 == 0
        for object in [objects.0[index], objects.1[index]] {
            let context = object.reservation.lock()
            object.setEvicted(isEvicted)
            object.reservation.unlock(context)
        }
    }

    private func read(_ vm: GPUVM, _ objects: [GPUVMObject]) -> [PaintedModelTests.Paint?] {
        var paint = [PaintedModelTests.Paint?](repeating: nil, count: Self.pages)
        vm.forEachVA { va in
            guard !vm.isReserved(va) else { return true }
            let first = Int((va.address - Self.base) >> 12)
            let object = objects.firstIndex { $0 === va.object }.map { $0 + 1 } ?? 0
            for page in 0..<Int(va.range >> 12) {
                paint[first + page] = PaintedModelTests.Paint(
                    object: object, page: object == 0 ? 0 : va.offset >> 12 &+ UInt64(page))
            }
            return true
        }
        return paint
    }

    /// What is not mapped can be reserved, to the last one.
    private func checkCapacity(_ vm: GPUVM) throws {
        let free = vm.capacity - vm.mappingCount
        let all = try vm.reserveImmediate(maps: free % 2, unmaps: (free - 3 * (free % 2)) / 2)
        #expect(all.mappings == free)
        #expect(throws: GPUVMError.outOfMemory(needed: 2)) {
            _ = try vm.reserveImmediate(maps: 0, unmaps: 1)
        }
    }

    @Test func jobsInFlightShareTheCapacity() throws {
        let vm = try ImmediateVM(capacity: 10)
        defer { vm.space.close() }
        let object = GPUVMObject()
        try vm.map(MapRequest(address: 0, range: 8 << 12, object: object, offset: 0))
        var first = try vm.space.reserveImmediate(maps: 2, unmaps: 0)
        let second = try vm.space.reserveImmediate(maps: 0, unmaps: 1)
        #expect(throws: GPUVMError.outOfMemory(needed: 2)) {
            _ = try vm.space.reserveImmediate(maps: 0, unmaps: 1)
        }
        // A plan finds the room taken as well: it needs two, one is left.
        var ops = OpList()
        try vm.space.planUnmap(address: 1 << 12, range: 1 << 12, into: &ops)
        #expect(throws: GPUVMError.outOfMemory(needed: 2)) { try vm.space.apply(&ops) }
        try vm.space.planUnmap(address: 7 << 12, range: 1 << 12, into: &ops)
        try vm.space.apply(&ops)
        // The first job splits twice: five of its six, and the old one comes back.
        let pair = try vm.space.obtain(object)
        vm.execute {
            for page in [2, 4] as [UInt64] {
                vm.space.executeMap(
                    MapRequest(address: page << 12, range: 1 << 12, object: object, offset: 0),
                    pair: pair, using: &first
                ) { _ in }
            }
        }
        vm.space.put(pair)
        #expect(vm.space.mappingCount == 5 && first.mappings == 0)
        first.absorb(second)
        #expect(first.mappings == 2)
        first.giveBack()
        #expect(first.mappings == 0)
        try vm.unmap(0, 8 << 12)
        #expect(vm.space.mappingCount == 0)
        vm.space.cleanUpDeferred()
        try checkCapacity(vm.space)
    }

    @Test func aClosedVMStaysAsItIs() throws {
        let vm = try ImmediateVM()
        let object = GPUVMObject()
        let request = MapRequest(address: 0, range: 1 << 12, object: object, offset: 0)
        let pair = try vm.space.obtain(object)
        var reservation = try vm.space.reserveImmediate(maps: 1, unmaps: 1)
        vm.space.close()
        vm.execute {
            vm.space.executeMap(request, pair: pair, using: &reservation) { _ in
                Issue.record("an op for a closed VM")
            }
            vm.space.executeUnmap(address: 0, range: 1 << 12, using: &reservation) { _ in
                Issue.record("an op for a closed VM")
            }
            vm.space.executeUnmapObject(object, using: &reservation) { _ in
                Issue.record("an op for a closed VM")
            }
        }
        #expect(reservation.mappings == 5 && vm.space.mappingCount == 0)
        vm.space.put(pair)
        #expect(object.hardReferenceCount == 1 && vm.space.referenceCount == 0)
    }
}
