import GPUVMCore
import TestSupport
import Testing

/// Zero ranges and wrapped look-ups against the definition of an interval look-up: the first entry
/// in order whose last byte (modulo 2^64) is not below the first one asked for, if it starts at or
/// below the last one asked for.
@Suite struct ZeroRangeTests {
    struct Entry: Equatable {
        var address: UInt64
        var range: UInt64
        var last: UInt64 { address &+ range &- 1 }
    }

    private func lookUp(_ entries: [Entry], _ address: UInt64, _ range: UInt64) -> Entry? {
        guard let first = entries.first(where: { $0.last >= address }),
            first.address <= address &+ range &- 1
        else { return nil }
        return first
    }

    private func number(_ random: inout SplitMix64) -> UInt64 {
        switch random.next() % 8 {
        case 0: 0
        case 1: .max &- random.next() % 4
        default: random.next() % 24
        }
    }

    @Test(arguments: [51, 52, 53, 54, 55, 56, 57, 58] as [UInt64])
    func againstTheDefinition(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        let vm = try GPUVM(start: 0, range: .max, capacity: 4096)
        defer { vm.close() }
        let object = GPUVMObject()
        var model: [Entry] = []
        for step in 0..<3000 {
            let comment: Comment = "seed \(seed) step \(step)"
            let address = number(&random)
            let range = random.next() % 3 == 0 ? 0 : random.next() % 5
            let wanted = Entry(address: address, range: range)
            if random.next() % 3 != 0 {
                let isValid = !address.addingReportingOverflow(range).overflow
                #expect(vm.isValid(address: address, range: range) == isValid, comment)
                let isFree = lookUp(model, address, range) == nil
                do {
                    try vm.insert(
                        MapRequest(address: address, range: range, object: object, offset: 0))
                    #expect(isValid && isFree, comment)
                    let index = model.firstIndex { $0.address > address } ?? model.count
                    model.insert(wanted, at: index)
                } catch {
                    #expect(error.errno == (isValid ? 17 : 22) && !(isValid && isFree), comment)
                }
            } else if let entry = model.randomElement(using: &random) {
                // Only what an exact look-up finds can be removed, and that is the first of equals.
                let found = lookUp(model, entry.address, entry.range)
                if found == entry {
                    try vm.remove(address: entry.address, range: entry.range)
                    let index = try #require(model.firstIndex { $0 == entry }, comment)
                    model.remove(at: index)
                } else {
                    #expect(vm.find(address: entry.address, range: entry.range) == nil, comment)
                }
            }
            if model.count > 60 {
                // Zero ranges pile up: they can be unmapped by a range around them.
                var ops = OpList()
                try vm.planUnmapObject(object, into: &ops)
                try vm.apply(&ops)
                model = []
            }
            let first = number(&random)
            let length = random.next() % 2 == 0 ? number(&random) : random.next()
            let found = vm.findFirst(address: first, range: length)
            #expect(
                found.map { Entry(address: $0.address, range: $0.range) }
                    == lookUp(model, first, length), comment)
            if first != 0 {
                let previous = vm.findPrevious(before: first)
                #expect(
                    previous.map { Entry(address: $0.address, range: $0.range) }
                        == lookUp(model, first - 1, 2), comment)
            }
            var listed: [Entry] = []
            vm.forEachVA { va in
                listed.append(Entry(address: va.address, range: va.range))
                return true
            }
            try #require(listed == model, comment)
        }
    }
}
