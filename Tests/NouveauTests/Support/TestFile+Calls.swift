import Device
import Fencing
import Testing

/// One element of VM_BIND's array.
struct BindOp {
    var op: UInt32 = 0
    var flags: UInt32 = 0
    var handle: UInt32 = 0
    var address: UInt64 = 0
    var offset: UInt64 = 0
    var range: UInt64 = 0

    static func map(
        _ handle: UInt32, at address: UInt64, _ range: UInt64, offset: UInt64 = 0,
        kind: UInt32 = 0
    ) -> BindOp {
        BindOp(
            flags: kind, handle: handle, address: address, offset: offset, range: range)
    }
    static func unmap(_ address: UInt64, _ range: UInt64) -> BindOp {
        BindOp(op: 1, address: address, range: range)
    }
    static func mapSparse(_ address: UInt64, _ range: UInt64) -> BindOp {
        BindOp(flags: 0x100, address: address, range: range)
    }
    static func unmapSparse(_ address: UInt64, _ range: UInt64) -> BindOp {
        BindOp(op: 1, flags: 0x100, address: address, range: range)
    }

    var bytes: Bytes {
        Bytes(40).put(0, op).put(4, flags).put(8, handle).put(16, address).put(24, offset)
            .put(32, range)
    }
}

/// A sync of VM_BIND and EXEC.
struct Sync {
    var handle: UInt32
    var point: UInt64 = 0
    var flags: UInt32 = 0

    static func timeline(_ handle: UInt32, _ point: UInt64) -> Sync {
        Sync(handle: handle, point: point, flags: 1)
    }

    var bytes: Bytes { Bytes(16).put(0, flags).put(4, handle).put(8, point) }
}

extension TestFile {
    func vmInit() throws {
        try expect(
            Request.vmInit, Bytes(16).put(0, UInt64(1) << 39).put(8, UInt64(1) << 39))
    }

    func gemNew(
        _ size: UInt64, domain: UInt32 = 0x2c, tileFlags: UInt32 = 0
    ) throws -> (handle: UInt32, mapHandle: UInt64) {
        let made = try expect(
            Request.gemNew, Bytes(48).put(4, domain).put(8, size).put(36, tileFlags))
        return (made.argument.u32(0), made.argument.u64(24))
    }

    func arguments(
        _ first: UInt32, _ second: UInt32, waits: [Sync], signals: [Sync], array: [Bytes]
    ) -> (Bytes, [Block]) {
        let bytes = Bytes(40).put(0, first).put(4, second).put(8, UInt32(waits.count))
            .put(12, UInt32(signals.count))
        var blocks: [Block] = []
        if !waits.isEmpty {
            blocks.append(Block(offset: 16, bytes: .joined(waits.map(\.bytes))))
        }
        if !signals.isEmpty {
            blocks.append(Block(offset: 24, bytes: .joined(signals.map(\.bytes))))
        }
        if !array.isEmpty { blocks.append(Block(offset: 32, bytes: .joined(array))) }
        return (bytes, blocks)
    }

    func bind(
        _ operations: [BindOp], asynchronous: Bool = false, waits: [Sync] = [],
        signals: [Sync] = []
    ) throws -> Int32 {
        let (bytes, blocks) = arguments(
            UInt32(operations.count), asynchronous ? 1 : 0, waits: waits, signals: signals,
            array: operations.map(\.bytes))
        return try errno(Request.vmBind, bytes, blocks)
    }

    func exec(
        _ channel: UInt32, _ pushes: [(address: UInt64, bytes: UInt32)], waits: [Sync] = [],
        signals: [Sync] = []
    ) throws -> Int32 {
        let (bytes, blocks) = arguments(
            channel, UInt32(pushes.count), waits: waits, signals: signals,
            array: pushes.map { Bytes(16).put(0, $0.address).put(8, $0.bytes) })
        return try errno(Request.exec, bytes, blocks)
    }

    func channelAlloc(copyEngine: Bool = false) throws -> UInt32 {
        let bytes =
            copyEngine ? Bytes(88).put(0, UInt32.max).put(4, UInt32(0x30)) : Bytes(88)
        return try expect(Request.channelAlloc, bytes).argument.u32(8)
    }

    func syncobjCreate(signalled: Bool = false) throws -> UInt32 {
        try expect(
            Request.syncobjCreate, Bytes(8).put(4, UInt32(signalled ? 1 : 0))
        ).argument.u32(0)
    }

    func handles(_ list: [UInt32], at offset: Int = 0) -> Block {
        Block(
            offset: offset, bytes: .joined(list.map { Bytes(4).put(0, $0) }))
    }

    func points(_ list: [UInt64], at offset: Int = 8, isOutput: Bool = false) -> Block {
        Block(
            offset: offset, bytes: .joined(list.map { Bytes(8).put(0, $0) }),
            isOutput: isOutput)
    }

    func waitArguments(_ count: Int, flags: UInt32, timeout: Int64) -> Bytes {
        Bytes(40).put(8, timeout).put(16, UInt32(count)).put(20, flags)
    }

    /// SYNCOBJ_WAIT for ten seconds at most.
    func wait(_ list: [UInt32], flags: UInt32 = 1, timeout: Int64? = nil) throws -> Int32 {
        let end = timeout ?? Int64(Runtime.deadline(after: 10_000_000_000))
        return try errno(
            Request.syncobjWait, waitArguments(list.count, flags: flags, timeout: end),
            [handles(list)])
    }

    func timelineArguments(_ count: Int, flags: UInt32, timeout: Int64) -> Bytes {
        Bytes(48).put(16, timeout).put(24, UInt32(count)).put(28, flags)
    }

    func timelineWait(
        _ list: [(UInt32, UInt64)], flags: UInt32 = 1, timeout: Int64? = nil
    ) throws -> Int32 {
        let end = timeout ?? Int64(Runtime.deadline(after: 10_000_000_000))
        return try errno(
            Request.syncobjTimelineWait,
            timelineArguments(list.count, flags: flags, timeout: end),
            [handles(list.map(\.0)), points(list.map(\.1))])
    }

    func query(_ handle: UInt32, flags: UInt32 = 0) throws -> UInt64 {
        let outcome = try expect(
            Request.syncobjQuery, Bytes(24).put(16, UInt32(1)).put(20, flags),
            [handles([handle]), points([0], isOutput: true)])
        return try #require(outcome.outputs.first).u64(0)
    }

    /// The memory of a buffer, mapped as a program does it.
    func memory(_ mapHandle: UInt64, _ bytes: UInt64) throws -> MappedMemory {
        let mapped = try file.map(offset: mapHandle, length: bytes)
        return try MappedMemory(mapped.descriptor.rawValue, mapped.offset, Int(bytes))
    }
}
