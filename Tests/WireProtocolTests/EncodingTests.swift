import CWireProtocol
import Testing
import WireProtocol

/// What the encoder writes against bytes written by hand from the header's comments.
@Suite struct EncodingTests {
    @Test func helloIsWhatTheHeaderSays() throws {
        var hello = gpuvm_hello()
        hello.magic = GPUVM_PROTOCOL_MAGIC
        hello.major = 1
        hello.name = WireName.encode("probe")
        let message = try Request(.hello, hello).finish(serial: 0x0102_0304)
        var body = Hand()
        body.bytes += Array("GVM1".utf8)
        body.u16(1)
        body.u16(0)
        body.u64(0)
        body.text("probe", width: 32)
        let expected = Hand.message(1, serial: 0x0102_0304, body: body.bytes)
        #expect(message.bytes == expected)
    }

    @Test func bindFollowsItsStructWithOpsWaitsAndSignals() throws {
        let op = gpuvm_bind_op(
            kind: GPUVM_BIND_MAP.rawValue, flags: GPUVM_BIND_READ_ONLY, bo: 3, reserved: 0,
            address: 0x10_0000, range: 0x4000, offset: 0x1000)
        let bind = gpuvm_vm_bind(
            vm: 9, queue: 4, flags: GPUVM_VM_BIND_ASYNC, op_count: 1, wait_count: 1,
            signal_count: 1)
        var request = Request(.vmBind, bind)
        request.append([op])
        request.append([gpuvm_sync(handle: 5, flags: 1, point: 6)])
        request.append([gpuvm_sync(handle: 7, flags: 0, point: 0)])
        let message = try request.finish(serial: 1)
        var body = Hand()
        for word: UInt32 in [9, 4, 1, 1, 1, 1, 0, 1, 3, 0] { body.u32(word) }
        for word: UInt64 in [0x10_0000, 0x4000, 0x1000] { body.u64(word) }
        body.u32(5)
        body.u32(1)
        body.u64(6)
        body.u32(7)
        body.u32(0)
        body.u64(0)
        #expect(message.bytes == Hand.message(34, serial: 1, body: body.bytes))
    }

    @Test func replyCarriesOpcodeSerialAndMarker() throws {
        var builder = ReplyBuilder(to: .vmCreate, serial: 77)
        builder.append(gpuvm_handle_reply(handle: 0xabcd, reserved: 0))
        let message = try builder.finish()
        var body = Hand()
        body.u32(0xabcd)
        body.u32(0)
        #expect(
            message.bytes == Hand.message(32, flags: 0x8000, serial: 77, body: body.bytes))
    }

    @Test func errorReplyCarriesErrnoAndText() throws {
        let message = ReplyBuilder.failure(
            opcode: 34, serial: 5, WireError(.noSuchFileOrDirectory, "no VM 9"))
        var body = Hand()
        body.u32(7)
        body.u32(0)
        body.bytes += Array("no VM 9".utf8)
        #expect(
            message.bytes == Hand.message(34, flags: 0x8000, serial: 5, status: 2, body: body.bytes)
        )
        let decoded = try decode(message.bytes, as: .reply)
        #expect(decoded.status == 2)
        #expect(decoded.body == body.bytes)
    }

    @Test func errorTextIsCutAtACharacter() throws {
        // 1023 bytes, then a character of two: only the first 1023 fit into 1024.
        let text = String(repeating: "a", count: 1023) + "\u{e9}" + "tail"
        let message = ReplyBuilder.failure(opcode: 1, serial: 0, .invalid(text))
        #expect(message.bytes.count == 16 + 8 + 1023)
        #expect(message.bytes[16..<20].elementsEqual([0xff, 0x03, 0, 0]))
    }

    @Test func namesArePaddedCutAndChecked() throws {
        #expect(WireName.display(WireName.encode("abc")) == "abc")
        let long = String(repeating: "x", count: 31) + "\u{e9}"
        #expect(try WireName.decode(WireName.encode(long)) == String(repeating: "x", count: 31))
        var bytes = WireName.encode("ok")
        #expect(try WireName.decode(bytes) == "ok")
        bytes.5 = 65
        #expect(throws: WireError.self) { try WireName.decode(bytes) }
        bytes = WireName.encode("a")
        bytes.1 = CChar(bitPattern: 0xff)
        #expect(throws: WireError.self) { try WireName.decode(bytes) }
        bytes.1 = 7
        #expect(throws: WireError.self) { try WireName.decode(bytes) }
        #expect(try WireName.decode(WireName.encode("")) == "")
    }
}
