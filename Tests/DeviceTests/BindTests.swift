import Device
import Fencing
import Glibc
import Memory
import Testing

@Suite("VM_BIND")
struct BindTests {
    @Test("A map shows in the tree at once and in the page tables when the fence signals")
    func submittedAndExecuted() throws {
        let fixture = try DeviceFixture()
        let (vm, object) = try fixture.makeVM()
        let buffer = try fixture.makeBuffer(1 << 16)
        let gate = try fixture.client.createSyncobj(isSignalled: false).handle
        let result = try fixture.client.bind(
            vm: vm,
            operations: [
                BindOperation(.map, address: 0x10000, range: 1 << 16, buffer: buffer.object)
            ],
            waits: [], signals: [SyncPoint(handle: gate, point: 0)])
        try #require(result.fence.wait(deadline: Runtime.deadline(after: 5_000_000_000)))
        let walk = try #require(object.walk(0x12345))
        #expect(walk.physical == buffer.object.extents[0].address + 0x2345)
        #expect(object.mappings(from: 0, limit: 10).map(\.address) == [0x10000])
    }

    @Test("A bind behind a point that is pending changes no entry before the point signals")
    func gated() throws {
        let fixture = try DeviceFixture()
        let (vm, object) = try fixture.makeVM()
        let buffer = try fixture.makeBuffer(4096)
        let (other, _) = try fixture.makeVM("other")
        // A fence that stays pending: a job behind a semaphore that nobody has released yet.
        let blocker = try SemaphoreBlocker(fixture, vm: other)
        let result = try fixture.client.bind(
            vm: vm,
            operations: [
                BindOperation(.map, address: 0x1000, range: 4096, buffer: buffer.object)
            ],
            waits: [blocker.point])
        #expect(!result.fence.isSignalled)
        #expect(object.mappings(from: 0, limit: 1).count == 1, "the tree is the submitted state")
        #expect(object.walk(0x1000)?.physical == nil, "the page table is the executed state")
        blocker.release()
        try #require(result.fence.wait(deadline: Runtime.deadline(after: 5_000_000_000)))
        #expect(object.walk(0x1000)?.physical == buffer.object.extents[0].address)
    }

    @Test("A pending bind of another queue on the same range comes first")
    func implicitDependency() throws {
        let fixture = try DeviceFixture()
        let (vm, object) = try fixture.makeVM()
        let (other, _) = try fixture.makeVM("other")
        let first = try fixture.makeBuffer(4096)
        let second = try fixture.makeBuffer(4096)
        let blocker = try SemaphoreBlocker(fixture, vm: other)
        let queue = try fixture.client.createQueue(vm: vm, engineClass: .bind)
        let map = { (buffer: TestBuffer, address: UInt64) in
            [BindOperation(.map, address: address, range: 4096, buffer: buffer.object)]
        }
        let early = try fixture.client.bind(
            vm: vm, operations: map(first, 0x1000), waits: [blocker.point])
        let late = try fixture.client.bind(
            vm: vm, queue: queue, operations: map(second, 0x1000))
        let apart = try fixture.client.bind(
            vm: vm, queue: queue, operations: map(second, 0x9000))
        // Behind `late` in its queue, so not finished; but a third queue is free.
        let free = try fixture.client.createQueue(vm: vm, engineClass: .bind)
        let unrelated = try fixture.client.bind(
            vm: vm, queue: free, operations: map(second, 0x20000))
        try #require(unrelated.fence.wait(deadline: Runtime.deadline(after: 5_000_000_000)))
        #expect(!early.fence.isSignalled && !late.fence.isSignalled && !apart.fence.isSignalled)
        blocker.release()
        try #require(apart.fence.wait(deadline: Runtime.deadline(after: 5_000_000_000)))
        #expect(early.fence.timestamp <= late.fence.timestamp)
        #expect(object.walk(0x1000)?.physical == second.object.extents[0].address)
    }

    @Test("An unexpected failure of the asynchronous part bans the VM")
    func ban() throws {
        let fixture = try DeviceFixture()
        let (vm, object) = try fixture.makeVM()
        let buffer = try fixture.makeBuffer(4096)
        fixture.device.failures.arm(after: 0, errno: EIO, asynchronous: true)
        let map = [BindOperation(.map, address: 0x1000, range: 4096, buffer: buffer.object)]
        let result = try fixture.client.bind(vm: vm, operations: map)
        try #require(result.fence.wait(deadline: Runtime.deadline(after: 5_000_000_000)))
        #expect(result.fence.error == EIO)
        while object.currentCondition == .active { sched_yield() }
        #expect(object.currentCondition == .banned(errno: EIO))
        let error = #expect(throws: DeviceError.self) {
            try fixture.client.bind(vm: vm, operations: map)
        }
        #expect(error?.errno == ENOENT)
        // Told on the device's report thread.
        let deadline = Runtime.deadline(after: 5_000_000_000)
        let isTold = {
            fixture.events.all.contains {
                if case .vmBanned(_, object.id, EIO) = $0 { true } else { false }
            }
        }
        while !isTold() && Runtime.now() < deadline { sched_yield() }
        #expect(isTold())
    }

    @Test("Bad numbers answer EINVAL and change nothing", arguments: BadBind.all)
    func badInput(_ bad: BadBind) throws {
        let fixture = try DeviceFixture()
        let (vm, object) = try fixture.makeVM()
        let buffer = try fixture.makeBuffer(8192)
        let good = BindOperation(.map, address: 0x1000, range: 4096, buffer: buffer.object)
        try fixture.bind(vm, [good])
        let before = Snapshot(fixture.device, object, [buffer])
        let array = [
            BindOperation(.unmap, address: 0x1000, range: 4096), bad.operation(buffer.object),
        ]
        let error = #expect(throws: DeviceError.self) {
            try fixture.client.bind(vm: vm, operations: array)
        }
        #expect(error?.errno == EINVAL)
        #expect(Snapshot(fixture.device, object, [buffer]) == before)
    }
}

/// An operation with one wrong number.
struct BadBind: CustomTestStringConvertible, Sendable {
    let testDescription: String
    let operation: @Sendable (BufferObject) -> BindOperation

    static let all: [BadBind] = [
        BadBind(testDescription: "misaligned address") {
            BindOperation(.map, address: 0x1001, range: 4096, buffer: $0)
        },
        BadBind(testDescription: "misaligned range") {
            BindOperation(.map, address: 0x1000, range: 4097, buffer: $0)
        },
        BadBind(testDescription: "misaligned offset") {
            BindOperation(.map, address: 0x1000, range: 4096, buffer: $0, offset: 8)
        },
        BadBind(testDescription: "empty map") {
            BindOperation(.map, address: 0x1000, range: 0, buffer: $0)
        },
        BadBind(testDescription: "empty unmap") { _ in
            BindOperation(.unmap, address: 0x1000, range: 0)
        },
        BadBind(testDescription: "overflow") {
            BindOperation(.map, address: .max - 4095, range: 8192, buffer: $0)
        },
        BadBind(testDescription: "overflow to exactly 2^64") { _ in
            BindOperation(.unmap, address: .max - 4095, range: 4096)
        },
        BadBind(testDescription: "beyond the space") {
            BindOperation(.map, address: 1 << 47, range: 4096, buffer: $0)
        },
        BadBind(testDescription: "across the end of the space") { _ in
            BindOperation(.unmap, address: (1 << 47) - 4096, range: 8192)
        },
        BadBind(testDescription: "range past the buffer") {
            BindOperation(.map, address: 0x1000, range: 12288, buffer: $0)
        },
        BadBind(testDescription: "offset past the buffer") {
            BindOperation(.map, address: 0x1000, range: 4096, buffer: $0, offset: 8192)
        },
        BadBind(testDescription: "offset that overflows with the range") {
            BindOperation(.map, address: 0x1000, range: 8192, buffer: $0, offset: .max - 4095)
        },
        BadBind(testDescription: "prefetch outside") { _ in
            BindOperation(.prefetch, address: 1 << 47, range: 4096)
        },
        BadBind(testDescription: "unmap-all with a range") {
            BindOperation(.unmapAll, address: 0x1000, range: 4096, buffer: $0)
        },
    ]
}
