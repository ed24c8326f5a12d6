import CWireProtocol
import TestSupport
import WireProtocol

/// Random bytes, random contents of the right shape, plausible requests, and mutations of those.
struct RandomMessages {
    struct Message {
        var bytes: [UInt8]
        var fds: Int
        /// Now and then a client just leaves.
        var endsConnection = false
    }

    private var random: SplitMix64
    private var left: Int
    /// How many objects of a kind the connection has made, if all went well: the last handle.
    private var made: [Opcode: UInt32] = [:]
    /// What every connection begins with, so that the rest has something to work on.
    private var beginning = [Opcode](objects.reversed())
    private static let objects: [Opcode] = [
        .boCreate, .boCreate, .vmCreate, .queueCreate, .queueCreate, .syncobjCreate,
        .syncobjCreate,
    ]

    init(seed: UInt64, count: Int) {
        random = SplitMix64(seed: seed)
        left = count
    }

    mutating func next() -> Message? {
        guard left > 0 else { return nil }
        left -= 1
        if let first = beginning.popLast() { return plausible(first) }
        var message: Message
        switch random.below(10) {
        case 0:
            message = Message(
                bytes: (0..<(1 + random.below(200))).map { _ in
                    UInt8(truncatingIfNeeded: random.next())
                },
                fds: random.below(3))
        case 1, 2:
            message = shaped()
        case 3, 4:
            message = plausible()
            for _ in 0...random.below(3) {
                let position = random.below(message.bytes.count)
                message.bytes[position] ^= 1 << UInt8(random.below(8))
            }
        default:
            message = plausible()
        }
        message.endsConnection = random.below(100) == 0
        if message.endsConnection {
            made = [:]
            beginning = Self.objects.reversed()
        }
        return message
    }

    private mutating func dword() -> UInt32 {
        switch random.below(10) {
        case 0: .max
        case 1: UInt32(truncatingIfNeeded: random.next())
        case 2: 4096 << UInt32(random.below(20))
        default: UInt32(random.below(9))
        }
    }

    private mutating func contents(_ bytes: Int) -> [UInt8] {
        (0..<((bytes + 3) / 4)).flatMap { _ in RawClient.body(dword()) }.prefix(bytes).map { $0 }
    }

    /// The right size and number of descriptors, with anything in it.
    private mutating func shaped() -> Message {
        let opcode = Opcode.allCases[random.below(Opcode.allCases.count)]
        let shape = opcode.shapes.request
        let tail = shape.hasArrays ? 8 * random.below(40) : 0
        return Message(
            bytes: RawClient.message(opcode.rawValue, contents(shape.fixedBytes + tail)),
            fds: shape.fds.upperBound)
    }

    // MARK: plausible requests

    /// One of the handles that the connection got from `opcode`, unless a request was refused.
    private mutating func handle(_ opcode: Opcode) -> UInt32 {
        UInt32(1 + random.below(Int(max(1, min(made[opcode, default: 1], 4)))))
    }

    private mutating func page() -> UInt64 { UInt64(random.below(64)) << 12 }

    private mutating func syncs(_ count: Int) -> [UInt8] {
        (0..<count).flatMap { _ in
            let isTimeline = random.below(2) == 0
            return RawClient.body(
                gpuvm_sync(
                    handle: handle(.syncobjCreate), flags: isTimeline ? 1 : 0,
                    point: isTimeline ? UInt64(1 + random.below(5)) : 0))
        }
    }

    private static let kinds: [Opcode] = [
        .boCreate, .vmCreate, .vmBind, .vmBind, .vmBind, .vmBind, .queueCreate, .queueCreate, .exec,
        .exec, .exec, .syncobjCreate, .syncobjCreate, .syncobjSignal, .syncobjSignal, .syncobjWait,
        .syncobjExport, .boImport, .boClose, .vmClose, .queueClose, .syncobjDestroy,
        .syncobjTransfer, .syncobjEventfd, .boInfo, .boExport, .syncobjReset, .syncobjQuery,
        .vmShow, .vmList, .boList, .memoryInfo,
    ]

    private mutating func plausible(_ wanted: Opcode? = nil) -> Message {
        let opcode = wanted ?? Self.kinds[random.below(Self.kinds.count)]
        if Self.objects.contains(opcode) { made[opcode, default: 0] += 1 }
        var fds = 0
        let body: [UInt8]
        switch opcode {
        case .boCreate:
            var create = gpuvm_bo_create()
            create.size = UInt64(16 + random.below(64)) << 12
            create.placement = UInt32(random.below(2))
            if random.below(8) == 0 { create.flags = GPUVM_BO_NO_CPU_ACCESS }
            body = RawClient.body(create)
        case .boImport:
            var request = gpuvm_bo_import()
            request.size = UInt64(1 + random.below(20)) << 12
            body = RawClient.body(request)
            fds = 1
        case .vmCreate:
            var create = gpuvm_vm_create()
            create.range = 1 << 30
            if random.below(2) == 0 { create.flags = UInt32(random.below(4)) }
            body = RawClient.body(create)
        case .vmBind: body = bind()
        case .queueCreate:
            var create = gpuvm_queue_create()
            create.vm = handle(.vmCreate)
            create.engine_class = random.below(3) == 0 ? 1 : 0
            create.priority = UInt32(random.below(3))
            body = RawClient.body(create)
        case .exec:
            let (batches, signals) = (random.below(2), random.below(3))
            let waits = random.below(4) == 0 ? 1 : 0
            body =
                RawClient.body(
                    gpuvm_exec(
                        queue: handle(.queueCreate), flags: 0, batch_count: UInt32(batches),
                        wait_count: UInt32(waits), signal_count: UInt32(signals), reserved: 0))
                + (0..<batches).flatMap { _ in
                    RawClient.body(gpuvm_batch(address: page(), bytes: 0))
                } + syncs(waits + signals)
        case .syncobjSignal, .syncobjReset, .syncobjQuery:
            let count = 1 + random.below(3)
            body =
                RawClient.body(gpuvm_syncobj_array(count: UInt32(count), flags: 0)) + syncs(count)
        case .syncobjWait:
            let count = 1 + random.below(3)
            body =
                RawClient.body(
                    gpuvm_syncobj_wait(
                        count: UInt32(count), flags: UInt32(random.below(8)),
                        deadline: random.below(2) == 0 ? .max : 0)) + syncs(count)
        case .syncobjTransfer:
            var transfer = gpuvm_syncobj_transfer()
            transfer.source.handle = handle(.syncobjCreate)
            transfer.destination = gpuvm_sync(
                handle: handle(.syncobjCreate), flags: 1, point: UInt64(1 + random.below(9)))
            transfer.flags = random.below(2) == 0 ? 0 : GPUVM_WAIT_FOR_SUBMIT
            body = RawClient.body(transfer)
        case .syncobjExport:
            body = RawClient.body(
                gpuvm_syncobj_export(
                    handle: handle(.syncobjCreate), flags: UInt32(random.below(2)), point: 0))
        case .syncobjEventfd:
            body = RawClient.body(
                gpuvm_syncobj_eventfd(
                    handle: handle(.syncobjCreate), flags: 0, point: UInt64(random.below(4))))
            fds = 1
        case .syncobjCreate: body = RawClient.body(gpuvm_syncobj_create())
        case .memoryInfo: body = []
        case .vmShow, .vmList, .boList:
            body = RawClient.body(gpuvm_page(handle: 0, flags: 0, cursor: 0))
        default:
            let kind: Opcode =
                switch opcode {
                case .vmClose: .vmCreate
                case .queueClose: .queueCreate
                case .syncobjDestroy: .syncobjCreate
                default: .boCreate
                }
            body = RawClient.body(gpuvm_handle(handle: handle(kind), reserved: 0))
        }
        return Message(bytes: RawClient.message(opcode.rawValue, body), fds: fds)
    }

    private mutating func bind() -> [UInt8] {
        let count = random.below(6)
        let isAsynchronous = random.below(2) == 0
        let waits = isAsynchronous && random.below(4) == 0 ? 1 : 0
        let signals = isAsynchronous ? random.below(2) : 0
        var body = RawClient.body(
            gpuvm_vm_bind(
                vm: handle(.vmCreate),
                queue: random.below(8) == 0 ? handle(.queueCreate) : 0,
                flags: UInt32(random.below(2)) << 1 | (isAsynchronous ? 1 : 0),
                op_count: UInt32(count), wait_count: UInt32(waits), signal_count: UInt32(signals)))
        for _ in 0..<count {
            var operation = gpuvm_bind_op()
            operation.kind = UInt32(random.below(4))
            let takesBuffer = operation.kind == 0 || operation.kind == 3
            operation.bo = takesBuffer ? handle(.boCreate) : 0
            if operation.kind != 3 {
                operation.address = page()
                operation.range = UInt64(1 + random.below(16)) << 12
            }
            body += RawClient.body(operation)
        }
        return body + syncs(waits + signals)
    }
}
