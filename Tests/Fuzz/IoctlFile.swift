import CPlatform
import Device
import Engines
import Fencing
import Glibc
import Memory
import WireProtocol

/// An open file that any calls are made on.
final class IoctlFile {
    private let file: NouveauFile
    private let calls: DescriptorCalls
    /// Handles that calls returned, the last of each kind.
    private var gems: [UInt32] = []
    private var syncobjs: [UInt32] = []
    private var channels: [UInt32] = []
    private var descriptors: [IoctlDescriptor] = []
    private var mapHandles: [UInt64] = []

    private static let pushAddress: UInt64 = 0x10_0000
    private static let kept = 6

    init(_ server: FuzzServer, isRenderNode: Bool) {
        let client = server.device.makeClient(
            name: "fuzz", process: 1, user: 1, isPrivileged: false)
        file = NouveauFile(server.nouveau, client: client, isRenderNode: isRenderNode)
        calls = DescriptorCalls(server.nouveau, client: client)
    }

    /// What a driver begins with: a VM or the old interface, buffers, sync objects, channels, and a
    /// mapping for push buffers.
    func begin(isOld: Bool) {
        if !isOld { make(0x4010_6450, [(0, 1 << 39), (8, 1 << 39)], bytes: 16) }
        for domain in [0x2e, 0x2c] as [UInt64] {
            make(0xc030_6480, [(0, domain << 32), (8, 1 << 16)], bytes: 48)
        }
        make(0xc008_64bf, [], bytes: 8)
        make(0xc008_64bf, [(0, 1 << 32)], bytes: 8)
        make(0xc058_6442, [], bytes: 88)
        guard !isOld else { return }
        var operation = IoctlBytes(zeros: 40)
        operation.write(gems.first ?? 0, at: 8)
        operation.write(Self.pushAddress, at: 16)
        operation.write(UInt64(1 << 16), at: 32)
        var argument = IoctlBytes(zeros: 40)
        argument.write(UInt32(1), at: 0)
        call(
            IoctlCall(
                request: IoctlRequest(0xc028_6451), argument: argument,
                blocks: [
                    IoctlBlock(
                        parent: 0, pointerOffset: 32, isOutput: false, contents: operation)
                ]))
    }

    func end() {
        file.close()
        descriptors = []
    }

    private func make(_ request: UInt32, _ fields: [(Int, UInt64)], bytes: Int) {
        var argument = IoctlBytes(zeros: bytes)
        for (offset, value) in fields { argument.write(value, at: offset) }
        call(IoctlCall(request: IoctlRequest(request), argument: argument))
    }

    // MARK: steps

    func step(_ input: inout FuzzInput) {
        let kind = input.byte()
        switch kind {
        case 0..<216:
            call(build(IoctlForm.all[Int(kind) % IoctlForm.all.count], &input))
        case 216..<226: map(offset: mapOffset(&input), length: input.value())
        case 226..<240: writePush(&input)
        default: call(any(&input))
        }
    }

    private func mapOffset(_ input: inout FuzzInput) -> UInt64 {
        mapHandles.isEmpty || input.isRare(8)
            ? input.value() : input.pick(mapHandles) &+ UInt64(input.below(4)) << 12
    }

    private func map(offset: UInt64, length: UInt64) {
        _ = try? file.map(offset: offset, length: length)
    }

    /// Puts methods into the first buffer, at the address where it is mapped at first.
    private func writePush(_ input: inout FuzzInput) {
        var grammar = PushGrammar(
            classes: .tu104, data: Self.pushAddress + 0x8000, dataBytes: 0x8000)
        let bounded = FuzzInputSlice(input.take(Int(input.byte())))
        let dwords = bounded.withInput { grammar.dwords(&$0, limit: 512) }
        guard let handle = mapHandles.first,
            let mapped = try? file.map(offset: handle, length: 4096)
        else { return }
        _ = dwords.withUnsafeBytes {
            pwrite(mapped.descriptor.rawValue, $0.baseAddress, $0.count, off_t(mapped.offset))
        }
        guard let channel = channels.last else { return }
        var argument = IoctlBytes(zeros: 40)
        argument.write(channel, at: 0)
        argument.write(UInt32(1), at: 4)
        var push = IoctlBytes(zeros: 16)
        push.write(Self.pushAddress, at: 0)
        push.write(UInt32(dwords.count * 4), at: 8)
        call(
            IoctlCall(
                request: IoctlRequest(0xc028_6452), argument: argument,
                blocks: [
                    IoctlBlock(parent: 0, pointerOffset: 32, isOutput: false, contents: push)
                ]))
    }

    // MARK: calls

    private func any(_ input: inout FuzzInput) -> IoctlCall {
        let request: UInt32 = input.integer()
        // Half of them are some DRM call's number with any size and direction.
        let number = input.below(2) == 0 ? request : request & 0xffff_00ff | 0x6400
        let bytes = input.take(min(Int(number >> 16 & 0x3fff), Int(input.byte())))
        var argument = IoctlBytes(bytes)
        let missing = Int(number >> 16 & 0x3fff) - bytes.count
        if missing > 0 { argument = IoctlBytes(bytes + [UInt8](repeating: 0, count: missing)) }
        let blocks = (0..<input.below(4)).map { index in
            IoctlBlock(
                parent: UInt32(input.below(2) * index), pointerOffset: UInt32(input.byte() & 63),
                isOutput: input.below(2) == 0,
                contents: IoctlBytes(input.take(Int(input.byte()))))
        }
        return IoctlCall(
            request: IoctlRequest(number), argument: argument, blocks: blocks,
            descriptors: numbers(input.below(3), &input))
    }

    private func numbers(_ count: Int, _ input: inout FuzzInput) -> [Int32] {
        (0..<count).map { _ in
            let kind = input.byte()
            guard !descriptors.isEmpty, kind < 240 else { return kind < 248 ? 0 : -1 }
            return descriptors[Int(kind) % descriptors.count].rawValue
        }
    }

    private func build(_ form: IoctlForm, _ input: inout FuzzInput) -> IoctlCall {
        let counts = form.blocks.map { _ in input.below(5) }
        var argument = IoctlBytes(zeros: Int(form.request >> 16 & 0x3fff))
        for (offset, field) in form.fields {
            put(value(field, counts, &input), field, &argument, at: offset)
        }
        let blocks = zip(form.blocks, counts).map { block, count in
            var contents = IoctlBytes(zeros: block.stride * count)
            for element in 0..<count {
                for (offset, field) in block.fields {
                    put(
                        value(field, counts, &input), field, &contents,
                        at: element * block.stride + offset)
                }
            }
            return IoctlBlock(
                parent: 0, pointerOffset: UInt32(block.pointer), isOutput: block.isOutput,
                contents: contents)
        }
        // Some blocks are not there, or hang elsewhere.
        var passed = blocks
        let damage = input.byte()
        if damage >= 248, !passed.isEmpty { passed.removeLast() }
        if damage >= 252, !passed.isEmpty { passed[0].pointerOffset = UInt32(input.byte()) }
        return IoctlCall(
            request: IoctlRequest(form.request), argument: argument, blocks: passed,
            descriptors: numbers(form.descriptors, &input))
    }

    private func put(
        _ value: UInt64, _ field: IoctlForm.Field, _ bytes: inout IoctlBytes, at offset: Int
    ) {
        if field.bytes == 8 {
            bytes.write(value, at: offset)
        } else {
            bytes.write(UInt32(truncatingIfNeeded: value), at: offset)
        }
    }

    private func value(
        _ field: IoctlForm.Field, _ counts: [Int], _ input: inout FuzzInput
    ) -> UInt64 {
        if case .constant(let value, _) = field { return value }
        let kind = input.byte()
        // Any field may have any value.
        if kind >= 248 { return input.value() }
        switch field {
        case .gem: return handle(gems, kind)
        case .syncobj: return handle(syncobjs, kind)
        case .channel: return handle(channels, kind)
        case .flags: return kind < 128 ? UInt64(kind & 3) : 1 << UInt64(kind % 32)
        case .address:
            return kind < 128
                ? Self.pushAddress + UInt64(kind) << 12 : UInt64(kind & 15) << 21
        case .size: return UInt64(kind & 63) << 12
        case .domain: return [2, 4, 6, 0x2e, 0x2c, 0xc, 0, 1][Int(kind & 7)]
        case .count(let block): return UInt64(counts[block])
        case .deadline: return kind < 64 ? UInt64(Int64.max) : 1
        case .any32, .any64, .constant: return input.value()
        }
    }

    private func handle(_ handles: [UInt32], _ kind: UInt8) -> UInt64 {
        handles.isEmpty ? UInt64(kind & 7) : UInt64(handles[Int(kind) % handles.count])
    }

    private func call(_ call: IoctlCall) {
        let answer = IoctlAnswer()
        let pending =
            call.request.isDRM
            ? file.ioctl(call) { answer.complete($0) }
            : calls.ioctl(call) { answer.complete($0) }
        // A wait for what never happens ends by the client's death.
        pending?.cancel()
        guard let reply = answer.get() else {
            fuzzFailure("ioctl 0x\(String(call.request.rawValue, radix: 16)) does not return")
        }
        guard reply.result > -200, reply.argument.count == call.argument.count,
            reply.outputs.map(\.count)
                == call.blocks.filter(\.isOutput).map(\.contents.count)
        else {
            fuzzFailure(
                """
                ioctl 0x\(String(call.request.rawValue, radix: 16)) returns \(reply.result) with \
                \(reply.argument.count) bytes and \(reply.outputs.count) blocks
                """)
        }
        keep(call.request.number, reply)
    }

    /// Remembers what a call made.
    private func keep(_ number: UInt8, _ reply: IoctlReply) {
        guard reply.result >= 0 else { return }
        if let descriptor = reply.descriptor, descriptors.count < Self.kept {
            descriptors.append(descriptor)
        }
        switch number {
        case 0x2e where gems.count < Self.kept: gems.append(reply.argument.read(0))
        case 0x80 where gems.count < Self.kept:
            gems.append(reply.argument.read(0))
            mapHandles.append(reply.argument.read(24))
        case 0x42 where channels.count < Self.kept: channels.append(reply.argument.read(8))
        case 0xbf, 0xc2: if syncobjs.count < Self.kept { syncobjs.append(reply.argument.read(0)) }
        default: break
        }
    }
}
