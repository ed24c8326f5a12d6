import CPlatform
import Testing

@testable import Engines

/// Copies that leave the caches alone, and when they are used.
@Suite struct StreamingCopyTests {
    /// Lengths around lines of 64 bytes, and around four pages.
    private static let lengths = [
        0, 1, 15, 63, 64, 65, 127, 4095, 4096, 16383, 16384, 16385, 16384 + 64 + 7, 40000,
    ]

    /// Differs from page to page.
    private static func byte(_ index: Int) -> UInt8 {
        UInt8(truncatingIfNeeded: index &* 31 &+ index >> 8)
    }

    @Test("Every byte arrives, and none beside them", arguments: lengths)
    func bytes(length: Int) {
        let room = length + 256
        for sourceOffset in [0, 1, 8, 33] {
            for destinationOffset in [0, 1, 16, 63] {
                let source = UnsafeMutableRawPointer.allocate(byteCount: room, alignment: 64)
                let destination = UnsafeMutableRawPointer.allocate(byteCount: room, alignment: 64)
                defer {
                    source.deallocate()
                    destination.deallocate()
                }
                for index in 0..<room {
                    source.storeBytes(of: Self.byte(index), toByteOffset: index, as: UInt8.self)
                    destination.storeBytes(of: 0xEE, toByteOffset: index, as: UInt8.self)
                }
                gpuvm_copy_streaming(
                    destination + destinationOffset, source + sourceOffset, length)
                var wrong = 0
                for index in 0..<room {
                    let position = index - destinationOffset
                    let isCopied = position >= 0 && position < length
                    let expected = isCopied ? Self.byte(position + sourceOffset) : 0xEE
                    if destination.load(fromByteOffset: index, as: UInt8.self) != expected {
                        wrong += 1
                    }
                }
                #expect(wrong == 0, "offsets \(sourceOffset) and \(destinationOffset)")
            }
        }
    }

    /// The macro takes no mutating call.
    private func expect(
        _ run: inout CopyRun, with transfer: Transfer, isLong expected: Bool,
        _ location: SourceLocation = #_sourceLocation
    ) {
        let isLong = run.isLong(with: transfer)
        #expect(isLong == expected, sourceLocation: location)
    }

    @Test func aRunIsWhatContinuesItself() {
        var run = CopyRun()
        let piece: UInt64 = 128 << 10
        var index: UInt64 = 0
        // 16 MiB are 128 pieces.
        while index < 127 {
            let transfer = Transfer(copy: piece, from: index * piece, to: (1 << 40) + index * piece)
            expect(&run, with: transfer, isLong: false)
            index += 1
        }
        let last = Transfer(copy: piece, from: 127 * piece, to: (1 << 40) + 127 * piece)
        expect(&run, with: last, isLong: true)
        // Elsewhere begins another.
        expect(
            &run, with: Transfer(copy: piece, from: 0, to: (1 << 40) + 128 * piece), isLong: false)
        expect(&run, with: Transfer(copy: piece, from: piece, to: 0), isLong: false)
        expect(&run, with: Transfer(copy: 16 << 20, from: 0, to: 1 << 40), isLong: true)
    }

    @Test func fillsAndLinesWithGapsAreNoRuns() {
        var run = CopyRun()
        expect(&run, with: Transfer(fill: 1 << 30, at: 0, pattern: 0), isLong: false)
        let lines = Transfer(
            lines: 1 << 20, of: 64, from: 0, sourcePitch: 128, to: 1 << 40, destinationPitch: 64)
        expect(&run, with: lines, isLong: false)
    }

    @Test func aStreamedPieceThatMeetsItselfIsMoved() throws {
        // Two addresses of one page: the piece's memory overlaps although its addresses do not.
        let machine = try Machine()
        try machine.map(0x10000, frame: 0)
        try machine.map(0x20000, frame: 0)
        let bytes = machine.host(frame: 0, offset: 0).assumingMemoryBound(to: UInt8.self)
        for index in 0..<4096 { bytes[index] = Self.byte(index) }
        var transfer = Transfer(copy: 2048, from: 0x10000, to: 0x20000 + 100)
        transfer.isStreamed = true
        while transfer.isActive {
            _ = try machine.mmu.withAccess { (access) throws(Transfer.Stop) in
                try transfer.step(4096, access, machine.space)
            }
        }
        for index in 0..<2048 {
            #expect(bytes[100 + index] == Self.byte(index))
        }
    }
}
