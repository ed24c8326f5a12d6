import Fencing
import GPUVMCore
import Testing

/// The pictures of the kernel's "Split and Merge" documentation, one by one: units of 4 KiB, offset
/// n = 0x10000.
@Suite struct OverlapCaseTests {
    enum Object { case a, b }

    struct Picture: CustomTestStringConvertible {
        let number: Int
        /// Start and end in units, offset in units from n.
        let old: (UInt64, UInt64, UInt64)
        let request: (UInt64, UInt64, UInt64)
        let object: Object
        let keep: Bool
        /// Start, end and offset of what remains; nil where nothing does.
        var previous: (UInt64, UInt64, UInt64)?
        var next: (UInt64, UInt64, UInt64)?
        var testDescription: String { "picture \(number)" }
    }

    static let pictures = [
        Picture(number: 1, old: (0, 1, 0), request: (0, 1, 0), object: .a, keep: true),
        Picture(number: 2, old: (0, 1, 0), request: (0, 1, 7), object: .a, keep: false),
        Picture(number: 3, old: (0, 1, 0), request: (0, 1, 0), object: .b, keep: false),
        Picture(number: 4, old: (0, 1, 0), request: (0, 2, 0), object: .a, keep: true),
        Picture(number: 4, old: (0, 1, 0), request: (0, 2, 0), object: .b, keep: false),
        Picture(
            number: 5, old: (0, 2, 0), request: (0, 1, 0), object: .b, keep: false, next: (1, 2, 1)),
        Picture(
            number: 6, old: (0, 2, 0), request: (0, 1, 0), object: .a, keep: true, next: (1, 2, 1)),
        Picture(
            number: 7, old: (0, 2, 0), request: (1, 2, 5), object: .b, keep: false,
            previous: (0, 1, 0)),
        Picture(
            number: 8, old: (0, 2, 0), request: (1, 2, 1), object: .a, keep: true,
            previous: (0, 1, 0)),
        Picture(
            number: 9, old: (0, 2, 0), request: (1, 3, 5), object: .b, keep: false,
            previous: (0, 1, 0)),
        Picture(
            number: 10, old: (0, 2, 0), request: (1, 3, 1), object: .a, keep: true,
            previous: (0, 1, 0)),
        Picture(
            number: 11, old: (0, 3, 0), request: (1, 2, 5), object: .b, keep: false,
            previous: (0, 1, 0), next: (2, 3, 2)),
        Picture(
            number: 12, old: (0, 3, 0), request: (1, 2, 1), object: .a, keep: true,
            previous: (0, 1, 0), next: (2, 3, 2)),
        Picture(number: 13, old: (1, 2, 1), request: (0, 2, 0), object: .a, keep: true),
        Picture(number: 13, old: (1, 2, 1), request: (0, 2, 0), object: .b, keep: false),
        Picture(number: 14, old: (1, 2, 1), request: (0, 3, 0), object: .a, keep: true),
        Picture(number: 14, old: (1, 2, 1), request: (0, 3, 5), object: .a, keep: false),
        Picture(
            number: 15, old: (1, 3, 0), request: (0, 2, 5), object: .b, keep: false, next: (2, 3, 1)
        ),
    ]

    static let base: UInt64 = 0x100000

    private func piece(_ units: (UInt64, UInt64, UInt64)) -> GPUVAOp.Piece {
        GPUVAOp.Piece(
            address: Self.base + units.0 << 12, range: (units.1 - units.0) << 12,
            offset: 0x10000 + units.2 << 12)
    }

    private func request(
        _ units: (UInt64, UInt64, UInt64), _ object: GPUVMObject?
    ) -> MapRequest {
        let piece = piece(units)
        return MapRequest(
            address: piece.address, range: piece.range, object: object, offset: piece.offset)
    }

    @Test(arguments: pictures)
    func map(_ picture: Picture) throws {
        let vm = try GPUVM(start: 0, range: 1 << 40, capacity: 1024)
        defer { vm.close() }
        let a = GPUVMObject(reservation: vm.reservation)
        let b = GPUVMObject(reservation: vm.reservation)
        try vm.insert(request(picture.old, a))
        var ops = OpList()
        let wanted = request(picture.request, picture.object == .a ? a : b)
        try vm.planMap(wanted, into: &ops)
        try #require(ops.count == 2)
        try check(ops[0], picture, keep: picture.keep, number: picture.number)
        guard case .map(let map) = ops[1] else {
            Issue.record("the second op is no map")
            return
        }
        #expect(map.piece == piece(picture.request))
        #expect(map.object === wanted.object)
        #expect(ops[1].overlapCase == nil)
    }

    /// An unmap request is contiguous with nothing: it is never one of the `keep` pictures.
    @Test(arguments: pictures)
    func unmap(_ picture: Picture) throws {
        let vm = try GPUVM(start: 0, range: 1 << 40, capacity: 1024)
        defer { vm.close() }
        try vm.insert(request(picture.old, GPUVMObject(reservation: vm.reservation)))
        var ops = OpList()
        let range = piece(picture.request)
        try vm.planUnmap(address: range.address, range: range.range, into: &ops)
        try #require(ops.count == 1)
        let numbers = [1: 3, 2: 3, 6: 5, 8: 7, 10: 9, 12: 11]
        try check(
            ops[0], picture, keep: false, number: numbers[picture.number] ?? picture.number)
    }

    private func check(_ op: GPUVAOp, _ picture: Picture, keep: Bool, number: Int) throws {
        #expect(op.overlapCase?.number == number)
        #expect(op.overlapCase?.text.isEmpty == false)
        switch op {
        case .remap(let remap):
            #expect(remap.keep == keep)
            #expect(remap.previous == picture.previous.map(piece))
            #expect(remap.next == picture.next.map(piece))
            #expect(remap.va.address == piece(picture.old).address)
        case .unmap(let unmap):
            #expect(unmap.keep == keep)
            #expect(picture.previous == nil && picture.next == nil)
            #expect(unmap.va.range == piece(picture.old).range)
        case .map, .prefetch: Issue.record("the first op takes nothing away")
        }
    }

    @Test func everyPictureHasItsNumber() {
        #expect(OverlapCase.allCases.map(\.number) == Array(1...15))
        #expect(Set(Self.pictures.map(\.number)) == Set(1...15))
        #expect(Set(OverlapCase.allCases.map(\.text)).count == 15)
    }
}
