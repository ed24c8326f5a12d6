import TestSupport
import Testing

@testable import Device

@Suite("nouveau: addresses that the driver gives out")
struct AddressHolesTests {
    @Test("Against a bitmap: what is taken was free, and what is refused does not fit")
    func random() {
        let seed: UInt64 = 0x5eed_0004
        var random = SplitMix64(seed: seed)
        let unit: UInt64 = 4096
        let units = 257
        let first = 5
        var holes = AddressHoles(UInt64(first) * unit..<UInt64(units) * unit)
        var isUsed = [Bool](repeating: false, count: units)
        for index in 0..<first { isUsed[index] = true }
        var taken: [Range<UInt64>] = []
        for step in 0..<20_000 {
            if random.next() % 2 == 0 || taken.isEmpty {
                let count = 1 + Int(random.next() % 20)
                let alignment = 1 << Int(random.next() % 4)
                let fits = stride(from: 0, through: units - count, by: alignment).contains {
                    !isUsed[$0..<$0 + count].contains(true)
                }
                let range = holes.take(UInt64(count) * unit, alignment: UInt64(alignment) * unit)
                #expect((range != nil) == fits, "seed \(seed), step \(step)")
                guard let range else { continue }
                #expect(range.lowerBound % (UInt64(alignment) * unit) == 0, "step \(step)")
                #expect(range.upperBound - range.lowerBound == UInt64(count) * unit)
                for index in Int(range.lowerBound / unit)..<Int(range.upperBound / unit) {
                    #expect(!isUsed[index], "seed \(seed), step \(step)")
                    isUsed[index] = true
                }
                taken.append(range)
            } else {
                let range = taken.remove(at: Int(random.next() % UInt64(taken.count)))
                for index in Int(range.lowerBound / unit)..<Int(range.upperBound / unit) {
                    isUsed[index] = false
                }
                holes.give(range)
            }
        }
        for range in taken { holes.give(range) }
        let all = holes.take(UInt64(units - first) * unit, alignment: unit)
        #expect(all?.lowerBound == UInt64(first) * unit, "all merged again")
        #expect(holes.take(unit, alignment: unit) == nil)
    }
}
