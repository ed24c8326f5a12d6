import CWireProtocol
import WireProtocol

/// Makes requests of the native protocol of bytes: plausible ones, mostly.
struct RequestGrammar {
    struct Message {
        var bytes: [UInt8]
        /// Kinds of descriptors; see the target.
        var descriptors: [UInt8] = []
        /// The answer may come whenever what is waited for comes.
        var mayWait = false
        /// No answers are expected from now on.
        var isLast = false
    }

    /// HELLO, and one or two objects of each kind.
    mutating func beginning() -> [Message] {
        var hello = gpuvm_hello()
        hello.magic = GPUVM_PROTOCOL_MAGIC
        hello.major = UInt16(GPUVM_PROTOCOL_MAJOR)
        hello.name = WireName.encode("fuzz")
        var buffer = gpuvm_bo_create()
        buffer.size = 1 << 16
        var video = buffer
        video.placement = GPUVM_PLACE_VRAM
        var vm = gpuvm_vm_create()
        vm.range = 1 << 40
        var bind = gpuvm_vm_bind()
        bind.vm = 1
        bind.op_count = 1
        var map = gpuvm_bind_op()
        map.bo = 1
        map.address = 0x1000
        map.range = 1 << 16
        var queue = gpuvm_queue_create()
        queue.vm = 1
        queue.priority = 1
        return [
            message(.hello, body(hello)), message(.boCreate, body(buffer)),
            message(.boCreate, body(video)), message(.vmCreate, body(vm)),
            message(.vmBind, body(bind) + body(map)), message(.queueCreate, body(queue)),
            message(.syncobjCreate, body(gpuvm_syncobj_create())),
            message(.syncobjCreate, body(gpuvm_syncobj_create(flags: 1, reserved: 0))),
        ]
    }

    mutating func next(_ input: inout FuzzInput) -> Message {
        let kind = input.byte()
        if kind >= 250 {
            // Any bytes. One that looks like an open file of a DRM node makes it one.
            let bytes = input.take(Int(input.byte()))
            var any = Message(bytes: bytes, mayWait: true)
            any.isLast = bytes.count < 16 || bytes[4] == 128 && bytes[5] == 0
            return any
        }
        let opcode = Opcode.allCases[Int(kind) % Opcode.allCases.count]
        var message = plausible(opcode, &input)
        let damage = input.byte()
        if damage >= 240 {
            // The opcode's own bytes stay, by which the answer is known.
            let position = 16 + Int(input.byte())
            if position < message.bytes.count { message.bytes[position] = input.byte() }
            if damage >= 252 { message.bytes.append(0) }
            if damage == 255 { message.descriptors.append(input.byte()) }
        }
        return message
    }

    // MARK: parts

    private func body<T: BitwiseCopyable>(_ contents: T) -> [UInt8] {
        var writer = MessageWriter()
        writer.append(contents)
        return writer.bytes
    }

    private func message(
        _ opcode: Opcode, _ body: [UInt8], descriptors: [UInt8] = []
    ) -> Message {
        var writer = MessageWriter()
        writer.append(
            gpuvm_header(
                length: UInt32(16 + body.count), opcode: opcode.rawValue, flags: 0, serial: 0,
                status: 0))
        writer.append(contentsOf: body)
        return Message(
            bytes: writer.bytes, descriptors: descriptors,
            mayWait: [.vmBind, .syncobjWait, .syncobjTransfer].contains(opcode))
    }

    /// Fields of 32 bits of any use, up to `count` bytes.
    private func fields(_ count: Int, _ input: inout FuzzInput) -> [UInt8] {
        var bytes: [UInt8] = []
        while bytes.count < count { bytes += body(input.dword()) }
        return Array(bytes.prefix(count))
    }

    private func syncs(_ count: Int, _ input: inout FuzzInput) -> [UInt8] {
        (0..<count).flatMap { _ in
            let kind = input.byte()
            let isTimeline = kind & 8 != 0
            return body(
                gpuvm_sync(
                    handle: kind >= 240 ? input.dword() : UInt32(kind & 3) + 1,
                    flags: isTimeline ? GPUVM_SYNC_TIMELINE : 0,
                    point: isTimeline ? UInt64(kind >> 4) + 1 : 0))
        }
    }

    /// The count that a message gives; rarely another one than it has.
    private func count(_ real: Int, _ input: inout FuzzInput) -> UInt32 {
        input.isRare(32) ? input.dword() : UInt32(real)
    }

    private func plausible(_ opcode: Opcode, _ input: inout FuzzInput) -> Message {
        switch opcode {
        case .hello:
            var hello = gpuvm_hello()
            hello.magic = input.isRare(4) ? input.dword() : GPUVM_PROTOCOL_MAGIC
            hello.major = input.isRare(8) ? input.integer() : UInt16(GPUVM_PROTOCOL_MAJOR)
            return message(opcode, body(hello))
        case .boCreate:
            var create = gpuvm_bo_create()
            create.size = input.value()
            create.placement = input.isRare(8) ? input.dword() : UInt32(input.below(2))
            create.flags = UInt32(input.byte() >> 5)
            create.vm = UInt32(input.byte() >> 6)
            return message(opcode, body(create))
        case .vmCreate:
            var create = gpuvm_vm_create()
            create.start = input.value()
            create.range = input.isRare(2) ? input.value() : 1 << 40
            create.reserved_start = input.value()
            create.reserved_range = input.value()
            create.flags = UInt32(input.byte() & 3)
            return message(opcode, body(create))
        case .vmBind: return bind(&input)
        case .queueCreate:
            var create = gpuvm_queue_create()
            create.vm = UInt32(input.byte() & 3)
            create.engine_class = UInt16(input.byte() >> 6)
            create.engine_instance = UInt16(input.byte() >> 6)
            create.priority = UInt32(input.byte() & 3)
            create.timeout_ns = input.value()
            return message(opcode, body(create))
        case .exec:
            let counts = (input.below(4), input.below(3), input.below(3))
            var exec = gpuvm_exec()
            exec.queue = UInt32(input.byte() & 3)
            exec.batch_count = count(counts.0, &input)
            exec.wait_count = count(counts.1, &input)
            exec.signal_count = count(counts.2, &input)
            let batches = (0..<counts.0).flatMap { _ in
                body(gpuvm_batch(address: input.value(), bytes: input.value()))
            }
            return message(
                opcode, body(exec) + batches + syncs(counts.1 + counts.2, &input))
        case .syncobjSignal, .syncobjReset, .syncobjQuery:
            let real = input.below(5)
            let head = gpuvm_syncobj_array(
                count: count(real, &input), flags: UInt32(input.byte() >> 6))
            return message(opcode, body(head) + syncs(real, &input))
        case .syncobjWait:
            let real = input.below(5)
            let deadline = input.isRare(2) ? Int64(truncatingIfNeeded: input.value()) : .max
            let head = gpuvm_syncobj_wait(
                count: count(real, &input), flags: UInt32(input.byte() & 15), deadline: deadline)
            return message(opcode, body(head) + syncs(real, &input))
        case .inject:
            // What it is, whom it meets and when: any fields.
            return message(opcode, fields(opcode.shapes.request.fixedBytes, &input))
        default:
            let shape = opcode.shapes.request
            let tail = shape.hasArrays ? 8 * input.below(8) : 0
            var made = message(opcode, fields(shape.fixedBytes + tail, &input))
            made.descriptors = (0..<shape.fds.upperBound).map { _ in input.byte() }
            return made
        }
    }

    private func bind(_ input: inout FuzzInput) -> Message {
        let counts = (input.below(6), input.below(3), input.below(3))
        let kind = input.byte()
        let isAsynchronous = kind & 1 != 0
        let (waits, signals) = isAsynchronous || kind >= 240 ? (counts.1, counts.2) : (0, 0)
        var bind = gpuvm_vm_bind()
        bind.vm = UInt32(kind >> 1 & 3)
        bind.queue = kind & 0x18 == 0x18 ? UInt32(input.byte() & 3) : 0
        bind.flags = (isAsynchronous ? 1 : 0) | UInt32(kind >> 5 & 1) << 1
        bind.op_count = count(counts.0, &input)
        bind.wait_count = count(waits, &input)
        bind.signal_count = count(signals, &input)
        let operations = (0..<counts.0).flatMap { _ -> [UInt8] in
            var operation = gpuvm_bind_op()
            operation.kind = UInt32(input.below(6))
            operation.bo = operation.kind == 0 || operation.kind == 3 ? UInt32(input.byte() & 3) : 0
            operation.flags = input.isRare(4) ? UInt32(input.byte()) : 0
            if operation.kind != 3 {
                operation.address = input.value()
                operation.range = input.isRare(4) ? input.value() : UInt64(input.byte() & 31) << 12
                operation.offset = input.isRare(4) ? input.value() : 0
            }
            return body(operation)
        }
        return message(.vmBind, body(bind) + operations + syncs(waits + signals, &input))
    }
}
