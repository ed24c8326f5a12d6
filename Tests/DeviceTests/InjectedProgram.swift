import Device
import Engines
import Fencing
import Glibc
import Memory
import Testing
import WireProtocol

/// A client with a VM, a queue, and a job that fills a buffer in VRAM.
struct InjectedProgram {
    /// Where its commands and its buffer are mapped.
    static let commands: UInt64 = 0x10_0000
    static let target: UInt64 = 0x100_0000

    let client: Client
    let vm: UInt32
    let space: DeviceVM
    let queue: UInt32
    let batch: TestBuffer
    let data: TestBuffer

    init(_ fixture: DeviceFixture, _ name: String, timeout: UInt64 = 2_000_000_000) throws {
        client = fixture.device.makeClient(
            name: name, process: Int32(name.utf8.count) + 100, user: 1, isPrivileged: false)
        let made = try client.createVM(name: name, start: 0, range: 1 << 40)
        (vm, space) = (made.handle, made.vm)
        queue = try client.createQueue(vm: vm, engineClass: .copy, timeout: timeout)
        let buffers = try [Placement.system, .vram].map { [client] placement in
            let made = try client.createBuffer(
                name: name, size: 1 << 16, placement: placement)
            return TestBuffer(handle: made.handle, object: made.buffer)
        }
        batch = buffers[0]
        data = buffers[1]
        let bound = try client.bind(
            vm: vm,
            operations: [
                BindOperation(
                    .map, address: Self.commands, range: 1 << 16, buffer: batch.object),
                BindOperation(
                    .map, address: Self.target, range: 1 << 16, buffer: data.object),
            ])
        try wait(bound.fence)
    }

    func wait(_ fence: Fence) throws {
        try #require(fence.wait(deadline: Runtime.deadline(after: 10_000_000_000)))
    }

    func submit(_ pattern: UInt32 = 1, waits: [SyncPoint] = []) throws -> Fence {
        var writer = CommandWriter()
        writer.fill(Self.target, bytes: 1 << 16, pattern: pattern)
        writer.end()
        batch.write(writer.dwords)
        return try client.execute(
            queue: queue, batches: [CommandBatch(address: Self.commands)],
            waits: waits, signals: [])
    }

    /// The errno of a job's fence.
    func run(_ pattern: UInt32 = 1) throws -> Int32 {
        let fence = try submit(pattern)
        try wait(fence)
        return fence.error
    }

    func holds(_ pattern: UInt32) -> Bool {
        data.bytes.bindMemory(to: UInt32.self).allSatisfy { $0 == pattern }
    }

    var deviceQueue: UInt32 { client.allQueues.first?.id ?? 0 }
}

extension DeviceFixture {
    /// Makes a rule.
    @discardableResult
    func inject(
        _ kind: InjectionKind, _ change: (inout InjectionRule) -> Void = { _ in }
    ) throws -> (id: UInt32, affected: Int) {
        var rule = InjectionRule(kind)
        change(&rule)
        return try client.inject(rule)
    }

    /// The firings so far.
    var firings: [InjectionFiring] { device.injector.firings() }

    /// Runs a test; when its clients have gone, nothing of them is left.
    func leavingNothing(_ body: () throws -> Void) rethrows {
        try body()
        for client in device.clients where client !== self.client { client.close() }
        expectNoMemoryInUse()
    }
}

/// The errno that a call of the device fails with; 0 if it succeeds.
func deviceErrno(_ body: () throws -> Void) -> Int32 {
    do { try body() } catch { return (error as? DeviceError)?.errno ?? -1 }
    return 0
}
