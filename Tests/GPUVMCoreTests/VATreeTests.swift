import TestSupport
import Testing

@testable import GPUVMCore

/// The tree alone, against a sorted array.
@Suite struct VATreeTests {
    /// A tree in memory of its own.
    final class Fixture {
        let tree: VATree
        private let region: ReservedRegion

        init(capacity: Int) throws {
            var layout = RegionLayout()
            let treeLayout = VATree.Layout(capacity: capacity, in: &layout)
            guard let region = ReservedRegion(byteCount: layout.byteCount) else {
                throw GPUVMError.outOfMemory(needed: capacity)
            }
            self.region = region
            tree = VATree(treeLayout, base: self.region.base)
        }

        deinit { tree.destroy() }
    }

    struct Entry: Equatable {
        var key: UInt64
        var id: UInt32
    }

    private func entries(_ tree: VATree) -> [Entry] {
        var entries: [Entry] = []
        var cursor = tree.first
        while cursor != .end {
            entries.append(Entry(key: tree.key(at: cursor), id: tree.id(at: cursor)))
            cursor = tree.next(cursor)
        }
        return entries
    }

    private func upperBound(_ entries: [Entry], _ key: UInt64) -> Int {
        entries.firstIndex { $0.key > key } ?? entries.count
    }

    @Test(arguments: [1, 2, 3, 4, 5, 6] as [UInt64])
    func randomAgainstArray(seed: UInt64) throws {
        let fixture = try Fixture(capacity: 4096)
        let tree = fixture.tree
        var random = SplitMix64(seed: seed)
        var model: [Entry] = []
        // Few different keys make long runs of equals; the extremes are keys too.
        let keySpace: UInt64 = seed % 2 == 0 ? 40 : 100_000
        func makeKey(_ random: inout SplitMix64) -> UInt64 {
            switch random.next() % 50 {
            case 0: .max
            case 1: 0
            default: random.next() % keySpace
            }
        }
        for step in 0..<4000 {
            let grows = (step / 700) % 2 == 0
            if model.isEmpty || random.next() % 10 < (grows ? 8 : 2) {
                let entry = Entry(key: makeKey(&random), id: UInt32(step + 1))
                tree.insert(entry.key, entry.id)
                model.insert(entry, at: upperBound(model, entry.key))
            } else {
                let index = Int(random.next() % UInt64(model.count))
                let entry = model[index]
                let rank = model[..<index].count { $0.key == entry.key }
                #expect(tree.remove(entry.key, entry.id) == rank, "seed \(seed) step \(step)")
                if random.next() % 3 == 0 {
                    // Undone: back to the very place.
                    tree.insert(entry.key, entry.id, rank: rank)
                } else {
                    model.remove(at: index)
                }
            }
            #expect(tree.remove(keySpace + 7, 1) == nil)
            let key = makeKey(&random)
            let bound = upperBound(model, key)
            let after = tree.after(key)
            let before = tree.atOrBefore(key)
            #expect(
                (after == .end ? nil : tree.id(at: after))
                    == (bound < model.count ? model[bound].id : nil), "seed \(seed) step \(step)")
            #expect(
                (before == .end ? nil : tree.id(at: before))
                    == (bound > 0 ? model[bound - 1].id : nil), "seed \(seed) step \(step)")
            if step % 20 == 0 {
                try #require(entries(tree) == model, "seed \(seed) step \(step)")
                #expect(tree.count == model.count)
            }
        }
        for entry in model.shuffled(using: &random) {
            #expect(tree.remove(entry.key, entry.id) != nil, "seed \(seed)")
        }
        #expect(entries(tree).isEmpty && tree.count == 0)
        #expect(tree.header.pointee.leafCount == 1 && tree.header.pointee.innerCount == 0)
    }

    @Test func hundredThousandInRandomOrder() throws {
        let count = 100_000
        let fixture = try Fixture(capacity: count)
        let tree = fixture.tree
        var random = SplitMix64(seed: 77)
        let keys = (0..<UInt64(count)).map { $0 * 3 }
        for key in keys.shuffled(using: &random) { tree.insert(key, UInt32(key / 3) + 1) }
        #expect(tree.header.pointee.height >= 3)
        #expect(entries(tree).map(\.key) == keys)
        for key in keys.shuffled(using: &random).dropLast(100) {
            #expect(tree.remove(key, UInt32(key / 3) + 1) == 0)
        }
        #expect(tree.count == 100)
        // Merging keeps the storage in proportion to what is left.
        #expect(tree.header.pointee.leafCount <= 100)
    }

    @Test func appendsFillLeaves() throws {
        let fixture = try Fixture(capacity: 32_000)
        for key in 0..<32_000 as Range<UInt64> { fixture.tree.insert(key, UInt32(key) + 1) }
        #expect(fixture.tree.header.pointee.leafCount == 1000)
    }
}
