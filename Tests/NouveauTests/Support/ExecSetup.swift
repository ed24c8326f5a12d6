import Device
import Testing

/// A VM with a push buffer, a source and a target, and a channel.
struct ExecSetup {
    static let pushVA: UInt64 = 0x10_0000
    static let sourceVA: UInt64 = 0x100_0000
    static let targetVA: UInt64 = 0x200_0000
    static let bytes: UInt64 = 64 << 10

    let fixture: NouveauFixture
    let file: TestFile
    let channel: UInt32
    let timeline: UInt32
    let push: MappedMemory
    let source: MappedMemory
    let target: MappedMemory
    let sourceHandle: UInt32

    init(
        copyEngine: Bool = false,
        configure: (inout DeviceConfiguration) -> Void = { _ in }
    ) throws {
        fixture = try NouveauFixture(configure: configure)
        let file = fixture.open()
        self.file = file
        try file.vmInit()
        channel = try file.channelAlloc(copyEngine: copyEngine)
        timeline = try file.syncobjCreate()
        let bytes = Self.bytes
        let made = try (0..<3).map { _ in try file.gemNew(bytes, domain: 0x2e) }
        sourceHandle = made[1].handle
        let addresses = [Self.pushVA, Self.sourceVA, Self.targetVA]
        let bound = try file.bind(
            zip(made, addresses).map { .map($0.handle, at: $1, bytes) })
        #expect(bound == 0)
        push = try file.memory(made[0].mapHandle, bytes)
        source = try file.memory(made[1].mapHandle, bytes)
        target = try file.memory(made[2].mapHandle, bytes)
        for index in source.bytes.indices {
            source.bytes[index] = UInt8(truncatingIfNeeded: index &* 31 &+ index >> 8)
        }
    }

    /// Writes a push buffer, and returns the array that submits it.
    func write(
        at offset: Int = 0, _ build: (inout PushWriter) -> Void
    ) -> [(address: UInt64, bytes: UInt32)] {
        var writer = PushWriter()
        build(&writer)
        push.write(writer.dwords, at: offset)
        return [(Self.pushVA + UInt64(offset), UInt32(writer.dwords.count * 4))]
    }
}
