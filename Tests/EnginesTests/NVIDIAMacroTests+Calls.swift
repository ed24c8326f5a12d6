import Engines
import PageTables
import Testing

/// How macros are loaded and called.
extension NVIDIAMacroTests {
    /// A driver that packs its macros closely counts instructions (tu102_graph_set_macro of Mesa's
    /// nvc0), another leaves room for as many dwords (nvk): both load what they call.
    @Test func addressesCountInstructions() throws {
        let nvidia = try NVIDIAMachine()
        var writer = PushWriter()
        writer.bindAll()
        writer.push(0, 0x2380, 0x100, 0, UInt32(data), 0)
        // Three macros of two, three and two instructions store their number in the buffer.
        func store(_ value: UInt32) -> [UInt32] {
            Self.instruction(
                A(.add, Reg.zero, Reg.zero, Self.method(0x2390)),
                A(.add, Reg.immediate, Reg.zero, value), method: .immediate0, emit: .alu1,
                last: true)
        }
        load(&writer, 0, at: 0, store(11) + Self.nop)
        load(&writer, 1, at: 2, Self.nop + store(22) + Self.nop)
        load(&writer, 2, at: 5, store(33) + Self.nop)
        for index in 0..<3 as Range<UInt32> { writer.push(0, 0x3800 + index * 8, 0) }
        #expect(nvidia.run(writer) == .done)
        #expect((0..<3).map { nvidia.dword($0 * 4) } == [11, 22, 33])
        // The last address of all.
        var last = PushWriter()
        load(&last, 3, at: 4095, Self.instruction(A(.beq, Reg.zero, Reg.zero, 0x9000)))
        last.push(0, 0x3818, 0)
        #expect(nvidia.run(last) == .done)
    }

    @Test func parametersMayComeLater() throws {
        let nvidia = try NVIDIAMachine()
        var writer = PushWriter()
        writer.bindAll()
        // Stores its third parameter where the first two say.
        load(
            &writer, 1, at: 9,
            Self.instruction(
                A(.add, Reg.zero, Reg.zero, Self.method(0x2380)), A(), method: .immediate0,
                emit: .alu1)
                + Self.instruction(emit: .load0, emit1: .load1)
                + Self.instruction(
                    A(.add, Reg.zero, Reg.zero, Self.method(0x2390)), method: .immediate0,
                    emit: .load0, last: true) + Self.nop)
        writer.push(0, 0x3808, 0)
        #expect(nvidia.run(writer) == .done)
        var more = PushWriter()
        more.push(0, 0x380c, UInt32(data))
        more.immediate(4, 0x100, 0)
        more.push(0, 0x380c, 0x77)
        // One that nobody takes.
        more.push(0, 0x380c, 0x78)
        #expect(nvidia.run(more) == .done)
        #expect(nvidia.dword(0) == 0x77)
    }
}
