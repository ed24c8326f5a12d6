import GPUVMCore
import TestSupport
import Testing

/// Random requests against an array of painted pages.
@Suite struct PaintedModelTests {
    static let pages = 160
    static let base: UInt64 = 0x40000

    /// What a page shows: nothing, or a page of an object.
    struct Paint: Equatable {
        var object: Int
        var page: UInt64
    }

    /// Eight objects (0 stands for none) and the pages they are painted on.
    struct Model {
        var paint = [Paint?](repeating: nil, count: PaintedModelTests.pages)
        /// Adjacent mappings are never merged: where each one starts.
        var starts = [Bool](repeating: false, count: PaintedModelTests.pages + 1)

        mutating func fill(_ range: Range<Int>, _ object: Int?, _ firstPage: UInt64) {
            if range.upperBound < paint.count, paint[range.upperBound] != nil {
                starts[range.upperBound] = true
            }
            for page in range {
                starts[page] = false
                paint[page] = object.map {
                    Paint(
                        object: $0,
                        page: $0 == 0 ? 0 : firstPage &+ UInt64(page - range.lowerBound))
                }
            }
            if object != nil { starts[range.lowerBound] = true }
        }
    }

    private func read(_ vm: GPUVM, _ objects: [GPUVMObject]) -> Model {
        var model = Model()
        vm.forEachVA { va in
            let first = Int((va.address - Self.base) >> 12)
            let count = Int(va.range >> 12)
            let object = objects.firstIndex { $0 === va.object }.map { $0 + 1 } ?? 0
            for page in 0..<count {
                #expect(model.paint[first + page] == nil, "mappings overlap")
                model.paint[first + page] = Paint(
                    object: object, page: object == 0 ? 0 : va.offset >> 12 &+ UInt64(page))
            }
            model.starts[first] = true
            return true
        }
        return model
    }

    @Test(arguments: [11, 12, 13, 14, 15, 16] as [UInt64])
    func randomRequests(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        let flags: [GPUVMFlags] = [[], .reservationProtected, .immediateMode]
        let vm = try GPUVM(
            flags: flags[Int(seed % 3)], start: Self.base, range: UInt64(Self.pages) << 12,
            capacity: 4096)
        defer { vm.close() }
        let objects = (0..<7).map { index in
            index % 2 == 0
                ? GPUVMObject(reservation: vm.reservation) : GPUVMObject()
        }
        var model = Model()
        var ops = OpList()
        for step in 0..<1500 {
            let first = Int(random.next() % UInt64(Self.pages))
            let count = 1 + Int(random.next() % UInt64(min(Self.pages - first, 24)))
            let address = Self.base + UInt64(first) << 12
            let range = UInt64(count) << 12
            let object = Int(random.next() % 8)
            // Half of the offsets continue each other, so that `keep` happens.
            let page =
                random.next() % 2 == 0 ? UInt64(first) : random.next() % 500
            var kept = 0
            if random.next() % 3 != 0 {
                try vm.planMap(
                    MapRequest(
                        address: address, range: range,
                        object: object == 0 ? nil : objects[object - 1], offset: page << 12),
                    into: &ops)
                ops.forEach { op in
                    switch op {
                    case .unmap(let unmap): kept += unmap.keep ? 1 : 0
                    case .remap(let remap): kept += remap.keep ? 1 : 0
                    case .map, .prefetch: break
                    }
                }
                let expected = keptMappings(model, first..<(first + count), object, page)
                #expect(kept == expected, "seed \(seed) step \(step)")
                model.fill(first..<(first + count), object, page)
            } else {
                try vm.planUnmap(address: address, range: range, into: &ops)
                model.fill(first..<(first + count), nil, 0)
            }
            let refused = try vm.apply(&ops)
            let isConsumed = ops.isEmpty
            #expect(refused == 0 && isConsumed)
            let actual = read(vm, objects)
            try #require(actual.paint == model.paint, "seed \(seed) step \(step)")
            try #require(actual.starts == model.starts, "seed \(seed) step \(step)")
            try checkLookups(vm, model, &random, "seed \(seed) step \(step)")
        }
    }

    /// How many old mappings in the range show what the request will show on the same pages.
    private func keptMappings(
        _ model: Model, _ range: Range<Int>, _ object: Int, _ firstPage: UInt64
    ) -> Int {
        guard object != 0 else { return 0 }
        var kept = 0
        for page in range where model.paint[page] != nil {
            guard page == range.lowerBound || model.starts[page] else { continue }
            let wanted = Paint(
                object: object, page: firstPage &+ UInt64(page - range.lowerBound))
            if model.paint[page] == wanted { kept += 1 }
        }
        return kept
    }

    private func checkLookups(
        _ vm: GPUVM, _ model: Model, _ random: inout SplitMix64, _ comment: Comment
    ) throws {
        let first = Int(random.next() % UInt64(Self.pages))
        let count = 1 + Int(random.next() % UInt64(Self.pages - first))
        let address = Self.base + UInt64(first) << 12
        let painted = (first..<(first + count)).first { model.paint[$0] != nil }
        let found = vm.findFirst(address: address, range: UInt64(count) << 12)
        #expect((found == nil) == (painted == nil), comment)
        if let found, let painted {
            let page = Self.base + UInt64(painted) << 12
            #expect(found.address <= page && page < found.end, comment)
            #expect(vm.find(address: found.address, range: found.range)?.id == found.id, comment)
        }
        #expect(
            vm.isEmpty(address: address, range: UInt64(count) << 12) == (painted == nil), comment)
        let nearest = vm.nearest(to: address)
        #expect((nearest.containing != nil) == (model.paint[first] != nil), comment)
        let below = (0..<first).last { model.paint[$0] != nil }
        if nearest.containing == nil { #expect((nearest.below == nil) == (below == nil), comment) }
        if let above = nearest.above { #expect(above.address > address, comment) }
    }
}
