import Engines
import Glibc
import PageTables
import Testing

/// The GPFIFO: headers, subchannels, classes, state, and what is refused.
@Suite struct NVIDIAPushTests {
    private let data = NVIDIAMachine.data

    @Test func everyFormOfHeader() throws {
        let nvidia = try NVIDIAMachine()
        var writer = PushWriter()
        writer.dwords.append(0)
        // Increment once: the address's upper part, then its lower part over and over.
        writer.push(op: 5, 4, 0x240, [0, 0x1234, UInt32(data) + 8])
        writer.push(op: 3, 4, 0x248, [1, 2, 0x77])
        writer.push(4, 0x300)
        writer.immediate(4, 0x300, 0x8)
        #expect(nvidia.run(writer) == .done)
        #expect(nvidia.dword(8) == 0x77)
        #expect(nvidia.engine.counters.methods(.copy) == 7)
        #expect(nvidia.engine.counters.launches == 1)
        #expect(nvidia.engine.counters.semaphoreReleases == 1)
    }

    @Test func theEndOfASegmentSkipsItsRest() throws {
        let nvidia = try NVIDIAMachine()
        var writer = PushWriter()
        writer.dwords += [7 << 29, 0xffff_ffff]
        #expect(nvidia.run(writer) == .done)
    }

    @Test(arguments: [0, 2, 6] as [UInt32]) func olderFormsAreRefused(op: UInt32) throws {
        let nvidia = try NVIDIAMachine()
        var writer = PushWriter()
        writer.immediate(4, 0x100, 0)
        writer.push(op: op, 4, 0x100, [0])
        let failure = try #require(nvidia.failure(writer))
        #expect(failure.cause == .badMethodHeader)
        #expect(failure.command == NVIDIAMachine.code + 4)
        #expect(failure.header == writer.dwords[1])
        #expect(failure.errno == EIO)
        #expect(failure.description.contains("header"))
    }

    @Test func stateOutlivesTheJob() throws {
        let nvidia = try NVIDIAMachine()
        nvidia.setData(Array(1...16))
        var first = PushWriter()
        first.copy(from: data, to: data + 100, length: 4)
        #expect(nvidia.run(first) == .done)
        var second = PushWriter()
        second.push(4, 0x40c, UInt32(data) + 200)
        second.push(4, 0x300, PushWriter.Launch.linear)
        #expect(nvidia.run(second) == .done)
        #expect(Array(nvidia.data()[200..<205]) == [1, 2, 3, 4, 0])
        #expect(nvidia.engine.counters.copiedBytes == 8)
    }

    @Test func subchannelsOfOneClassShareItsState() throws {
        let nvidia = try NVIDIAMachine()
        var writer = PushWriter()
        writer.push(6, 0, 0xc5b5)
        writer.address(6, 0x240, data + 4)
        writer.push(4, 0x248, 9)
        writer.push(6, 0x300, 8)
        #expect(nvidia.run(writer) == .done)
        #expect(nvidia.dword(4) == 9)
    }

    @Test func severalPushesAndNone() throws {
        let nvidia = try NVIDIAMachine()
        nvidia.machine.write([PushWriter.header(4, 4, 0x100, 0)], frame: 0)
        let push = NVIDIAPush(address: NVIDIAMachine.code, bytes: 4)
        let empty = NVIDIAPush(address: 0xdead_0000, bytes: 0)
        for pushes in [[], [empty], [push, empty, push]] {
            let context = NVIDIAContext(
                engine: nvidia.engine, channel: nvidia.channel, space: nvidia.machine.space,
                pushes: pushes)
            #expect(finish(context) == .done)
        }
        #expect(nvidia.engine.counters.methods(.copy) == 2)
    }

    @Test func aPushMustHoldItsData() throws {
        let nvidia = try NVIDIAMachine()
        var writer = PushWriter()
        writer.dwords = [PushWriter.header(1, 4, 0x400, 3), 0, 0]
        let failure = try #require(nvidia.failure(writer))
        #expect(failure.cause == .outsideBatch)
        #expect(failure.method?.method == 0x404)
    }

    @Test func faultsOfTheFetch() throws {
        let nvidia = try NVIDIAMachine()
        for (address, bytes) in [(NVIDIAMachine.missing, 8), (NVIDIAMachine.code + 2, 8)] {
            let context = NVIDIAContext(
                engine: nvidia.engine, channel: nvidia.channel, space: nvidia.machine.space,
                pushes: [NVIDIAPush(address: address, bytes: UInt64(bytes))])
            guard case .failed(let failure)? = finish(context) else {
                Issue.record("push at \(address) ran")
                continue
            }
            #expect(failure.operand == .command)
            if address == NVIDIAMachine.missing {
                #expect(failure.fault?.access == .fetch)
                #expect(failure.fault?.address == address)
            } else {
                #expect(failure.fault == nil)
            }
            #expect(context.run() == .failed(failure), "a failed job stays failed")
        }
    }

    @Test func classesAreTheChipsets() throws {
        let turing = try #require(NVIDIAClasses(chipset: 0x164))
        #expect(turing.all == [0xc46f, 0x902d, 0xa140, 0xc597, 0xc5c0, 0xc5b5])
        let ada = try #require(NVIDIAClasses(chipset: 0x194))
        #expect(ada.all == [0xc76f, 0x902d, 0xa140, 0xc997, 0xc9c0, 0xc7b5])
        #expect(NVIDIAClasses(chipset: 0x50) == nil)
        for classes in [turing, ada] {
            let nvidia = try NVIDIAMachine(classes: classes)
            var writer = PushWriter()
            writer.bindAll(classes)
            writer.push(4, 0, UInt32(classes.copy))
            #expect(nvidia.run(writer) == .done)
            var other = PushWriter()
            other.push(2, 0, UInt32(classes == ada ? turing.threeD : ada.threeD))
            #expect(
                nvidia.failure(other)?.cause
                    == .unknownClass(classes == ada ? turing.threeD : ada.threeD))
        }
    }

    @Test func aSubchannelWithoutAClass() throws {
        let nvidia = try NVIDIAMachine()
        var writer = PushWriter()
        writer.push(0, 0x1b00, 0)
        let failure = try #require(nvidia.failure(writer))
        #expect(failure.cause == .unboundSubchannel)
        #expect(failure.method?.method == 0x1b00)
    }

    /// Subchannel (0 3D, 1 compute, 2 inline, 3 2D, 4 copy), method, name.
    static let refused: [(UInt32, UInt32, String)] = [
        (0, 0x10c, "NOTIFY"), (0, 0x26c, "DRAW_INDEX_BUFFER_BEGIN_END_B"),
        (0, 0x274, "DRAW_VERTEX_ARRAY_BEGIN_END_B"), (0, 0x560, "MME_DMA_READ_FIFOED"),
        (0, 0x564, "MME_DMA_WRITE"), (0, 0xd78, "DRAW_VERTEX_ARRAY"), (0, 0x123c, "DRAW_AUTO"),
        (0, 0x1214, "DRAW_VERTEX_ARRAY_BEGIN_END_INSTANCE_FIRST"),
        (0, 0x15e8, "DRAW_INLINE_INDEX"), (0, 0x15f0, "DRAW_INLINE_INDEX2X16"),
        (0, 0x1614, "END"), (0, 0x1618, "BEGIN"), (0, 0x17e0, "DRAW_INDEX_BUFFER"),
        (0, 0x17f8, "DRAW_INDEX_BUFFER8_BEGIN_END_INSTANCE_SUBSEQUENT"),
        (0, 0x19d0, "CLEAR_SURFACE"), (1, 0x2b8, "SEND_PCAS_B"),
        (1, 0x2bc, "SEND_SIGNALING_PCAS_B"), (1, 0x2c0, "SEND_SIGNALING_PCAS2_B"),
        (1, 0x320, "LOAD_INLINE_QMD_DATA"), (1, 0x41c, "LOAD_INLINE_QMD_DATA"),
        (3, 0x5e0, "RENDER_SOLID_PRIM_POINT_X_Y"), (3, 0x604, "RENDER_SOLID_PRIM_POINT_Y"),
        (3, 0x860, "PIXELS_FROM_CPU_DATA"), (3, 0x8dc, "PIXELS_FROM_MEMORY_SRC_Y0_INT"),
        (4, 0x200, "0x200"), (2, 0x1b4, "LOAD_INLINE_DATA"), (0, 0x04, "ILLEGAL"),
        (0, 0x84, "CLEAR_FAULTED"), (0, 0x7c, "CRC_CHECK"),
    ]

    @Test(arguments: refused.indices) func whatIsNotCarriedOutEndsTheJob(index: Int) throws {
        let (subchannel, method, name) = Self.refused[index]
        let nvidia = try NVIDIAMachine()
        var writer = PushWriter()
        writer.bindAll()
        writer.push(subchannel, method, 0x55)
        writer.semaphore(data, 1, 2 | 1 << 24)
        let failure = try #require(nvidia.failure(writer))
        #expect(failure.cause == .unsupportedMethod)
        #expect(failure.method?.method == UInt16(method))
        let classes: [UInt16] = [0xc597, 0xc5c0, 0xa140, 0x902d, 0xc5b5]
        let classID = method < 0x100 ? 0xc46f : classes[Int(subchannel)]
        #expect(failure.method?.classID == classID)
        #expect(failure.method?.value == 0x55)
        #expect(failure.description.contains(name))
        #expect(failure.description.contains(String(classID, radix: 16)))
        #expect(nvidia.engine.counters.refusedMethods == 1)
        #expect(nvidia.dword(0) == 0, "nothing behind it is executed")
    }

    /// Subchannel, method, value.
    static let refusedValues: [(UInt32, UInt32, UInt32)] = [
        (0, 0x1c, 0), (0, 0x1c, 3), (0, 0x1c, 0x10 | 8 << 27), (0, 0x6c, 7), (0, 0x34, 9 << 27),
        (0, 0x1b0c, 3), (0, 0x1b0c, 8), (1, 0x1b0c, 1), (1, 0x1b0c, 2),
        (1, 0x1b0c, 3), (2, 0x1b0, 3), (2, 0x1b0, 0x31), (4, 0x25c, 0), (4, 0x25c, 2),
        // Launches: transfer type 3, semaphore type 3, physical addresses, protected memory, a
        // payload of two words that the class does not have, an undefined bit, floating point.
        (4, 0x300, 3), (4, 0x300, 0x18), (4, 0x300, 0x1182), (4, 0x300, 0x2182),
        (4, 0x300, 0x40_0182), (4, 0x300, 0x800_0182), (4, 0x300, 0x1000_0182),
        (4, 0x300, 0x8_0008 | 10 << 14),
    ]

    @Test(arguments: refusedValues.indices) func valuesThatAreNotCarriedOut(index: Int) throws {
        let (subchannel, method, value) = Self.refusedValues[index]
        let nvidia = try NVIDIAMachine()
        var writer = PushWriter()
        writer.bindAll()
        writer.push(subchannel, method, value)
        let failure = try #require(nvidia.failure(writer))
        #expect(failure.cause == .unsupportedValue)
        #expect(failure.method?.value == value)
        #expect(nvidia.engine.counters.refusedMethods == 1)
    }

    @Test func stateAndBarriersAreAccepted() throws {
        let nvidia = try NVIDIAMachine()
        var writer = PushWriter()
        writer.bindAll()
        for method in [0x110, 0x1234, 0x1330, 0x2380, 0x3404, 0x574, 0x12c8] as [UInt32] {
            writer.immediate(0, method, 1)
        }
        for method in [0x110, 0x2b4, 0x790] as [UInt32] { writer.immediate(1, method, 1) }
        for method in [0x110, 0x200, 0x580, 0x600] as [UInt32] { writer.immediate(3, method, 1) }
        for method in [0x100, 0x140, 0x1114] as [UInt32] { writer.immediate(4, method, 1) }
        for method in [0x08, 0x20, 0x24, 0x28, 0x50, 0x78, 0x80] as [UInt32] {
            writer.immediate(5, method, 0)
        }
        writer.push(5, 0x28, 0, 0, 0, 5 << 27)
        #expect(nvidia.run(writer) == .done)
        #expect(nvidia.engine.counters.methods(.threeD) == 7)
        #expect(nvidia.engine.counters.methods(.compute) == 3)
        #expect(nvidia.engine.counters.methods(.twoD) == 4)
        #expect(nvidia.engine.counters.methods(.host) == 15)
    }
}
