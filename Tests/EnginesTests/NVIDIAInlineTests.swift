import Engines
import PageTables
import Testing

/// Data out of the push buffer: the inline-to-memory methods and constant buffers.
@Suite struct NVIDIAInlineTests {
    private let data = NVIDIAMachine.data

    private func upload(
        _ writer: inout PushWriter, _ subchannel: UInt32, to address: UInt64, pitch: UInt32,
        length: UInt32, lines: UInt32, launch: UInt32, _ dwords: [UInt32]
    ) {
        writer.push(
            subchannel, 0x180, length, lines, UInt32(address >> 32),
            UInt32(truncatingIfNeeded: address), pitch)
        writer.push(subchannel, 0x1b0, launch)
        writer.push(op: 3, subchannel, 0x1b4, dwords)
    }

    @Test(arguments: [0, 1, 2] as [UInt32]) func linesFollowEachOther(subchannel: UInt32) throws {
        let nvidia = try NVIDIAMachine()
        var writer = PushWriter()
        writer.bindAll()
        writer.push(subchannel, 0x1dc, 0, UInt32(data) + 64, 0x99)
        upload(
            &writer, subchannel, to: data + 1, pitch: 16, length: 3, lines: 3, launch: 0x1021,
            [0x0403_0201, 0x0807_0605, 0xffff_ff09])
        #expect(nvidia.run(writer) == .done)
        let now = nvidia.data()
        #expect(Array(now[0..<6]) == [0, 1, 2, 3, 0, 0])
        #expect(Array(now[16..<22]) == [0, 4, 5, 6, 0, 0])
        #expect(Array(now[32..<38]) == [0, 7, 8, 9, 0, 0])
        #expect(nvidia.dword(64) == 0x99 && nvidia.dword(68) == 0)
        #expect(nvidia.engine.counters.inlineBytes == 9)
        #expect(nvidia.engine.counters.semaphoreReleases == 1)
    }

    @Test func blockLinearUploads() throws {
        let nvidia = try NVIDIAMachine()
        var writer = PushWriter()
        writer.bindAll()
        // One GOB high, 128 bytes wide, from byte 62 of line 3.
        writer.push(2, 0x194, 0, 128, 8, 1, 0, 62, 3)
        upload(
            &writer, 2, to: data, pitch: 0, length: 4, lines: 1, launch: 0, [0x0403_0201])
        #expect(nvidia.run(writer) == .done)
        let now = nvidia.data()
        // Byte 62 of line 3: sector column 3 (0x140), pair of lines 1 (0x20), line 1 (0x10).
        #expect(Array(now[0x17e..<0x180]) == [1, 2])
        #expect(Array(now[512 + 0x30..<512 + 0x33]) == [3, 4, 0])
    }

    @Test func anUploadSpansJobs() throws {
        let nvidia = try NVIDIAMachine()
        var first = PushWriter()
        first.bindAll()
        upload(&first, 2, to: data, pitch: 0, length: 8, lines: 1, launch: 0x11, [1])
        #expect(nvidia.run(first) == .done)
        var second = PushWriter()
        second.push(2, 0x1b4, 2)
        #expect(nvidia.run(second) == .done)
        #expect(nvidia.qword(0) == 0x2_0000_0001)
        #expect(
            nvidia.failure(second)?.cause == .unsupportedMethod, "there is nothing more to load")
    }

    @Test func anUploadOfNothingReleasesAtOnce() throws {
        let nvidia = try NVIDIAMachine()
        var writer = PushWriter()
        writer.bindAll()
        writer.push(2, 0x1dc, 0, UInt32(data), 5)
        writer.push(2, 0x180, 0, 1)
        writer.push(2, 0x1b0, 0x1021)
        #expect(nvidia.run(writer) == .done)
        #expect(nvidia.dword(0) == 5)
    }

    @Test func constantBuffersAreMemory() throws {
        let nvidia = try NVIDIAMachine()
        var writer = PushWriter()
        writer.bindAll()
        writer.push(0, 0x2380, 0x1000, 0, UInt32(data) + 0x100)
        writer.push(op: 5, 0, 0x238c, [8, 0x11, 0x22, 0x33])
        #expect(nvidia.run(writer) == .done)
        #expect((0..<5).map { nvidia.dword(0x104 + $0 * 4) } == [0, 0x11, 0x22, 0x33, 0])
    }

    @Test func faults() throws {
        for (address, reason) in [
            (NVIDIAMachine.missing, FaultReason.notMapped(level: 0)),
            (NVIDIAMachine.readOnly, .readOnly),
        ] {
            for isConstant in [false, true] {
                let nvidia = try NVIDIAMachine()
                var writer = PushWriter()
                writer.bindAll()
                if isConstant {
                    writer.push(0, 0x2380, 0x1000, 0, UInt32(address), 0, 1)
                } else {
                    upload(
                        &writer, 2, to: address, pitch: 0, length: 4, lines: 1, launch: 1, [1])
                }
                let failure = try #require(nvidia.failure(writer))
                #expect(failure.operand == .destination)
                #expect(failure.fault?.address == address)
                #expect(failure.fault?.reason == reason)
            }
        }
    }
}
