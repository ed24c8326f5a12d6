import CWireProtocol
import Glibc
import SystemPackage
import Testing
import WireProtocol

@testable import GPUVMClient

/// What protocol 1.1 adds, from the client's side: bytes out, bytes in.
@Suite(.timeLimit(.minutes(1)))
struct MemoryClientTests {
    private func code(_ body: () throws(ClientError) -> Void) -> Errno? {
        do throws(ClientError) {
            try body()
            return nil
        } catch {
            return error.code
        }
    }

    /// Runs `body` with a connection whose requests `handler` answers.
    private func withFake(
        _ handler: @escaping FakeDaemon.Handler, _ body: (Connection) throws -> Void
    ) throws {
        let daemon = try FakeDaemon(handler)
        let connection = try Connection(adopting: daemon.clientEnd, name: "test")
        try body(connection)
        connection.close()
        daemon.join()
    }

    @Test func memoryInfoIsReadFieldByField() throws {
        try withFake { call, socket in
            // 16 numbers of 8 bytes, in the order of the header.
            var hand = Hand()
            for value in 1...16 as ClosedRange<UInt64> { hand.u64(value << 33) }
            let words = hand.bytes.withUnsafeBytes {
                $0.loadUnaligned(as: gpuvm_memory_info_reply.self)
            }
            #expect(call.opcode.rawValue == 104 && call.body.isEmpty)
            FakeDaemon.reply(call, words, on: socket)
            return true
        } _: { connection in
            let memory = try connection.memoryInfo()
            #expect(memory.vram.bytes == 1 << 33 && memory.vram.used == 2 << 33)
            #expect(memory.vram.visible_bytes == 3 << 33 && memory.vram.visible_used == 4 << 33)
            #expect(memory.system.bytes == 5 << 33 && memory.system.visible_used == 8 << 33)
            #expect(memory.evictions == 9 << 33 && memory.restores == 10 << 33)
            #expect(memory.bytes_moved == 11 << 33)
            #expect(memory.resident_buffers == 12 << 33 && memory.evicted_buffers == 13 << 33)
        }
    }

    /// Two pages, the second by the cursor of the first.
    @Test func buffersComeByPages() throws {
        try withFake { call, socket in
            let page = call.contents(gpuvm_page.self)
            #expect(call.opcode.rawValue == 105 && page.handle == 0 && page.flags == 0)
            let first = page.cursor == 0
            #expect(first || page.cursor == 2)
            var hand = Hand()
            hand.u32(first ? 2 : 1)
            hand.u32(0)
            hand.u64(first ? 2 : 0)
            for id in first ? 1...2 : 3...3 as ClosedRange<UInt64> {
                hand.u64(id)
                hand.u32(40)
                hand.u32(50)
                hand.u64(id << 12)
                hand.u64(0x1000_0000_0000 + id)
                for value in [1, 0, 0x102, 6, 7, 0] as [UInt32] { hand.u32(value) }
                hand.text("buffer \(id)", width: 32)
                hand.text("owner", width: 32)
            }
            let message = Hand.message(105, flags: 0x8000, serial: call.serial, body: hand.bytes)
            return
                (try? message.withUnsafeBytes {
                    try socket.send($0, fds: FDList(), blocking: true)
                }) != nil
        } _: { connection in
            let buffers = try connection.buffers()
            #expect(buffers.map(\.id) == [1, 2, 3])
            #expect(buffers.map(\.size) == [4096, 8192, 12_288])
            let last = try #require(buffers.last)
            #expect(last.client_id == 40 && last.handle == 50)
            #expect(last.physical_address == 0x1000_0000_0003)
            #expect(last.wanted == GPUVM_PLACE_VRAM && last.placement == GPUVM_PLACE_SYSTEM)
            #expect(last.flags == GPUVM_BO_EVICTED | GPUVM_BO_NO_CPU_ACCESS)
            #expect(last.vms == 6 && last.extents == 7)
            #expect(WireName.display(last.name) == "buffer 3")
            #expect(WireName.display(last.client) == "owner")
        }
    }

    /// A reply with a descriptor that was not asked for, or without one that was, is no buffer.
    @Test(arguments: [false, true], [false, true])
    func aBufferHasADescriptorIfTheCPUHasAccess(cpuAccess: Bool, attaches: Bool) throws {
        try withFake { call, socket in
            let request = call.contents(gpuvm_bo_create.self)
            #expect(request.flags == (cpuAccess ? 0 : 2))
            #expect(request.placement == 1 && request.size == 8192)
            var builder = ReplyBuilder(to: .boCreate, serial: call.serial)
            builder.append(gpuvm_bo_reply(handle: 9, placement: 1, size: 8192))
            if attaches, let memfd = try? OwnedFD.memfd(name: "bo", bytes: 8192) {
                builder.attach(memfd)
            }
            return (try? builder.finish().send(on: socket, blocking: true)) != nil
        } _: { connection in
            guard cpuAccess == attaches else {
                let code = code { () throws(ClientError) in
                    _ = try connection.makeBuffer(
                        size: 8192, placement: .vram, cpuAccess: cpuAccess)
                }
                #expect(code == .protocolError)
                return
            }
            let buffer = try connection.makeBuffer(
                size: 8192, placement: .vram, cpuAccess: cpuAccess)
            #expect(buffer.handle == 9 && buffer.placement == .vram)
            if cpuAccess {
                #expect(buffer.fd >= 0)
                #expect(try buffer.map().count == 8192)
            } else {
                #expect(buffer.fd == -1)
                #expect(code { () throws(ClientError) in _ = try buffer.map() } == .notPermitted)
            }
        }
    }

    @Test(arguments: 0...3 as ClosedRange<UInt32>) func flagsOfAVMTravel(bits: UInt32) throws {
        var flags: VMFlags = []
        if bits & 1 != 0 { flags.insert(.immediateMode) }
        if bits & 2 != 0 { flags.insert(.weakReferences) }
        try withFake { call, socket in
            #expect(call.contents(gpuvm_vm_create.self).flags == bits)
            FakeDaemon.reply(call, gpuvm_handle_reply(handle: 3, reserved: 0), on: socket)
            return true
        } _: { connection in
            let vm = try connection.makeVM(range: 4096, flags: flags)
            #expect(vm.handle == 3)
        }
    }

    /// A daemon of protocol 1.0 says so.
    @Test func anOldDaemonRefusesByErrno() throws {
        try withFake { call, socket in
            FakeDaemon.fail(
                call, WireError(.notSupported, "the opcode is unknown to this version"),
                on: socket)
            return true
        } _: { connection in
            #expect(connection.server.minor == 0)
            #expect(
                code { () throws(ClientError) in _ = try connection.memoryInfo() }
                    == .notSupported)
            #expect(
                code { () throws(ClientError) in _ = try connection.buffers() } == .notSupported)
        }
    }
}
