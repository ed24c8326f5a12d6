import CPlatform
import CWireProtocol
import Glibc
import WireProtocol

/// The wrong messages that the tests send: each with the errno that it has to get.
struct BadMessages {
    let attacker: Attacker
    let fds: Descriptors

    /// The last page below 2^64.
    private let lastPage: UInt64 = .max - 4095

    init(attacker: Attacker, fds: Descriptors) {
        self.attacker = attacker
        self.fds = fds
    }

    // MARK: framing

    var framing: [BadMessage] {
        let handle = RawClient.body(gpuvm_handle(handle: attacker.bo, reserved: 0))
        let info = Opcode.boInfo.rawValue
        var list = [
            BadMessage("one byte", EINVAL, [1]),
            BadMessage("15 bytes", EINVAL, Array(RawClient.message(info, handle).prefix(15))),
            BadMessage("a header alone", EINVAL, RawClient.message(info, [])),
            BadMessage("length too small", EINVAL, RawClient.message(info, handle, length: 16)),
            BadMessage("length too large", EINVAL, RawClient.message(info, handle, length: 32)),
            BadMessage("length 0", EINVAL, RawClient.message(info, handle, length: 0)),
            BadMessage("length max", EINVAL, RawClient.message(info, handle, length: .max)),
            BadMessage("a reply", EINVAL, RawClient.message(info, handle, flags: 0x8000)),
            BadMessage("unknown header flag", EINVAL, RawClient.message(info, handle, flags: 2)),
            BadMessage("a status", EINVAL, RawClient.message(info, handle, status: 1)),
            BadMessage("a negative status", EINVAL, RawClient.message(info, handle, status: -1)),
            BadMessage(
                "longer than inline", EMSGSIZE,
                RawClient.message(
                    Opcode.vmBind.rawValue, [UInt8](repeating: 0, count: 70_000))),
        ]
        for opcode in [0, 2, 15, 21, 35, 52, 74, 95, 107, 4096, 65535] as [UInt16] {
            list.append(
                BadMessage("opcode \(opcode)", EOPNOTSUPP, RawClient.message(opcode, handle)))
        }
        for opcode in Opcode.allCases {
            let shape = opcode.shapes.request
            let body = [UInt8](repeating: 0, count: shape.fixedBytes)
            let needed = [Int32](repeating: fds.memfd, count: shape.fds.upperBound)
            if !body.isEmpty {
                list.append(
                    BadMessage(
                        "\(opcode) cut short", EINVAL,
                        RawClient.message(opcode.rawValue, body.dropLast()), fds: needed))
            }
            if !shape.hasArrays {
                list.append(
                    BadMessage(
                        "\(opcode) with a tail", EINVAL,
                        RawClient.message(opcode.rawValue, body + [0, 0, 0, 0, 0, 0, 0, 0]),
                        fds: needed))
            }
            list.append(
                BadMessage(
                    "\(opcode) with a stray fd", EINVAL, RawClient.message(opcode.rawValue, body),
                    fds: needed + [fds.null]))
            if shape.fds.lowerBound > 0 {
                list.append(
                    BadMessage(
                        "\(opcode) without its fd", EINVAL,
                        RawClient.message(opcode.rawValue, body)))
            }
        }
        var hello = gpuvm_hello()
        hello.magic = GPUVM_PROTOCOL_MAGIC
        hello.major = 1
        list.append(BadMessage(.hello, "a second time", EINVAL, hello) { _ in })
        return list
    }

    // MARK: buffers and VMs

    var buffers: [BadMessage] {
        var create = gpuvm_bo_create()
        create.size = 4096
        func bad(
            _ what: String, _ error: Int32 = EINVAL, _ change: (inout gpuvm_bo_create) -> Void
        ) -> BadMessage { BadMessage(.boCreate, what, error, create, change) }
        var list = [
            bad("size 0") { $0.size = 0 },
            bad("size 2^64 - 1") { $0.size = .max },
            bad("size 2^48") { $0.size = 1 << 48 },
            bad("placement 2") { $0.placement = 2 },
            bad("placement max") { $0.placement = .max },
            bad("unknown flag") { $0.flags = 4 },
            bad("a flag of replies only") { $0.flags = GPUVM_BO_EVICTED },
            bad("another one") { $0.flags = GPUVM_BO_WANTS_VRAM },
            bad("all flags") { $0.flags = .max },
            bad("reserved") { $0.reserved = 1 },
            bad("a VM without LOCAL") { $0.vm = attacker.vm },
            bad("local to nobody", ENOENT) { $0.flags = GPUVM_BO_LOCAL },
            bad("local to another client's VM", ENOENT) {
                $0.flags = GPUVM_BO_LOCAL
                $0.vm = attacker.foreign
            },
            bad("larger than VRAM", ENOSPC) {
                $0.size = 128 << 20
                $0.placement = GPUVM_PLACE_VRAM
            },
            bad("larger than VRAM, without CPU access", ENOSPC) {
                $0.size = 128 << 20
                $0.placement = GPUVM_PLACE_VRAM
                $0.flags = GPUVM_BO_NO_CPU_ACCESS
            },
            bad("a name that is no UTF-8") { $0.name.0 = CChar(bitPattern: 0xff) },
            bad("a control character in the name") { $0.name.0 = 7 },
            bad("text behind the name's end") { $0.name.5 = 65 },
        ]
        var request = gpuvm_bo_import()
        request.size = 1 << 16
        for (what, fd, error) in [
            ("a pipe", fds.pipe, EINVAL), ("/dev/null", fds.null, EINVAL),
            ("a directory", fds.directory, EINVAL), ("a socket", fds.socket, EINVAL),
            ("an eventfd", fds.eventfd, EINVAL), ("a file on disk", fds.file, EINVAL),
            ("a file on tmpfs", fds.sharedMemoryFile, EINVAL),
            ("a memfd sealed against writing", fds.unwritable, EPERM),
            ("a memfd sealed against future writing", fds.futureUnwritable, EPERM),
            ("a memfd opened for reading", fds.readOnly, EINVAL),
        ] {
            list.append(BadMessage(.boImport, what, error, request, fds: [fd]) { _ in })
        }
        list += [
            BadMessage(.boImport, "longer than the file", EINVAL, request, fds: [fds.memfd]) {
                $0.size = 1 << 16 + 1
            },
            BadMessage(.boImport, "size 0", EINVAL, request, fds: [fds.memfd]) { $0.size = 0 },
            BadMessage(.boImport, "size max", EINVAL, request, fds: [fds.memfd]) {
                $0.size = .max
            },
            BadMessage(.boImport, "a bad name", EINVAL, request, fds: [fds.memfd]) {
                $0.name.31 = CChar(bitPattern: 0x80)
            },
            BadMessage(
                .boExport, "a local buffer", EPERM,
                gpuvm_handle(handle: attacker.local, reserved: 0)
            ) { _ in },
            BadMessage(
                .boExport, "a buffer without CPU access", EPERM,
                gpuvm_handle(handle: attacker.hidden, reserved: 0)
            ) { _ in },
        ]
        return list
    }

    /// The requests that take a handle, with handles that name nothing.
    var handles: [BadMessage] {
        let opcodes: [(Opcode, UInt32)] = [
            (.boExport, attacker.bo), (.boInfo, attacker.bo), (.boClose, attacker.bo),
            (.vmClose, attacker.vm), (.queueClose, attacker.queue), (.queueInfo, attacker.queue),
            (.syncobjDestroy, attacker.syncobj),
        ]
        return opcodes.flatMap { opcode, valid in
            [
                (0 as UInt32, "0"), (attacker.closed, "closed"), (attacker.foreign, "foreign"),
                (.max, "max"),
            ].map { handle, what in
                BadMessage(
                    opcode, "handle \(what)", ENOENT, gpuvm_handle(handle: handle, reserved: 0)
                ) { _ in }
            } + [
                BadMessage(
                    opcode, "reserved", EINVAL, gpuvm_handle(handle: valid, reserved: 1)
                ) { _ in }
            ]
        }
    }

    var vms: [BadMessage] {
        var create = gpuvm_vm_create()
        create.range = 1 << 30
        func bad(_ what: String, _ change: (inout gpuvm_vm_create) -> Void) -> BadMessage {
            BadMessage(.vmCreate, what, EINVAL, create, change)
        }
        return [
            bad("an empty space") { $0.range = 0 },
            bad("a misaligned start") { $0.start = 1 },
            bad("a misaligned range") { $0.range = 4097 },
            bad("an end above 2^48") { $0.range = 1 << 48 + 4096 },
            bad("an end of 2^64") {
                $0.start = lastPage
                $0.range = 4096
            },
            bad("an overflowing end") {
                $0.start = lastPage
                $0.range = 8192
            },
            bad("an unknown flag") { $0.flags = 4 },
            bad("an unknown flag beside the known ones") { $0.flags = 7 },
            bad("all flags") { $0.flags = .max },
            bad("an empty space in immediate mode") {
                $0.flags = GPUVM_VM_IMMEDIATE
                $0.range = 0
            },
            bad("reserved") { $0.reserved = 1 },
            bad("a reserved range outside") {
                $0.reserved_start = 1 << 30
                $0.reserved_range = 4096
            },
            bad("a misaligned reserved range") {
                $0.reserved_start = 4096
                $0.reserved_range = 100
            },
            bad("an overflowing reserved range") {
                $0.reserved_start = 4096
                $0.reserved_range = .max - 4095
            },
            bad("a bad name") { $0.name.0 = 27 },
        ]
    }

    // MARK: VM_BIND

    var binds: [BadMessage] {
        var map = gpuvm_bind_op()
        map.bo = attacker.bo
        map.address = 0x40_0000
        map.range = 0x1000
        var unmap = gpuvm_bind_op()
        unmap.kind = GPUVM_BIND_UNMAP.rawValue
        unmap.address = 0x10_0000
        unmap.range = 0x1000
        // The good operation in front of the bad one has to be undone.
        func bad(
            _ what: String, _ error: Int32 = EINVAL, base: gpuvm_bind_op? = nil,
            _ change: (inout gpuvm_bind_op) -> Void
        ) -> BadMessage {
            var operation = base ?? map
            change(&operation)
            return BadMessage(
                .vmBind, what, error, attacker.bind([unmap, operation]),
                tail: RawClient.body(unmap) + RawClient.body(operation))
        }
        var list = [
            bad("kind 5") { $0.kind = 5 },
            bad("kind max") { $0.kind = .max },
            bad("an unknown flag") { $0.flags = 2 },
            bad("reserved") { $0.reserved = 1 },
            bad("no buffer", ENOENT) { $0.bo = 0 },
            bad("a closed buffer", ENOENT) { $0.bo = attacker.closed },
            bad("another client's buffer", ENOENT) { $0.bo = attacker.foreign },
            bad("a buffer local to another VM") { $0.bo = attacker.local },
            bad("an empty range") { $0.range = 0 },
            bad("a misaligned address") { $0.address += 1 },
            bad("a misaligned range") { $0.range += 8 },
            bad("a misaligned offset") { $0.offset = 512 },
            bad("an offset past the buffer") { $0.offset = 0x1_0000 },
            bad("an end past the buffer") { $0.range = 0x1_1000 },
            bad("an offset and a range that overflow") { $0.offset = lastPage },
            bad("an address behind the space") { $0.address = 1 << 30 },
            bad("an end behind the space") {
                $0.address = 1 << 30 - 4096
                $0.range = 8192
            },
            bad("an end of 2^64") {
                $0.address = lastPage
            },
            bad("an overflowing end") {
                $0.address = lastPage
                $0.range = 8192
            },
            bad("the reserved node") { $0.address = 0x2000_0000 },
            bad("across the reserved node") {
                $0.kind = GPUVM_BIND_MAP_NULL.rawValue
                $0.bo = 0
                $0.address = 0x1f00_0000
                $0.range = 0x200_0000
            },
            bad("UNMAP with a buffer", base: unmap) { $0.bo = attacker.bo },
            bad("UNMAP with an offset", base: unmap) { $0.offset = 4096 },
            bad("UNMAP read-only", base: unmap) { $0.flags = 1 },
            bad("UNMAP of the reserved node", base: unmap) { $0.address = 0x2000_0000 },
            bad("UNMAP of nothing", base: unmap) { $0.range = 0 },
            bad("UNMAP_ALL with an address") { $0.kind = GPUVM_BIND_UNMAP_ALL.rawValue },
            bad("UNMAP_ALL of nobody's", ENOENT) {
                $0 = gpuvm_bind_op()
                $0.kind = GPUVM_BIND_UNMAP_ALL.rawValue
            },
            bad("PREFETCH behind the space", base: unmap) {
                $0.kind = GPUVM_BIND_PREFETCH.rawValue
                $0.address = 1 << 40
            },
            bad("NULL with an offset", base: unmap) {
                $0.kind = GPUVM_BIND_MAP_NULL.rawValue
                $0.offset = 4096
            },
        ]
        let tail = RawClient.body(map)
        func head(
            _ what: String, _ error: Int32 = EINVAL, _ change: (inout gpuvm_vm_bind) -> Void
        ) -> BadMessage {
            var bind = attacker.bind([map])
            change(&bind)
            return BadMessage(.vmBind, what, error, bind, tail: tail)
        }
        list += [
            head("the operations of an immediate VM") {
                $0.vm = attacker.immediateVM
                $0.flags = GPUVM_VM_BIND_RETURN_OPS
            },
            head("no VM", ENOENT) { $0.vm = 0 },
            head("a closed VM", ENOENT) { $0.vm = attacker.closed },
            head("another client's VM", ENOENT) { $0.vm = attacker.foreign },
            head("a closed queue", ENOENT) { $0.queue = attacker.closed },
            head("an exec queue") { $0.queue = attacker.queue },
            head("another VM's bind queue") { $0.queue = attacker.bindQueue },
            head("an unknown flag") { $0.flags = 4 },
            head("more operations than there are") { $0.op_count = 2 },
            head("fewer operations than there are") { $0.op_count = 0 },
            head("2^32 - 1 operations", E2BIG) { $0.op_count = .max },
            head("262145 operations", E2BIG) { $0.op_count = 262_145 },
            head("2^32 - 1 waits", E2BIG) { $0.wait_count = .max },
            head("2^32 - 1 signals", E2BIG) { $0.signal_count = .max },
            head("counts whose bytes overflow 2^32", E2BIG) {
                $0.op_count = 0x0555_5556
                $0.wait_count = 0x1000_0000
            },
        ]
        func sync(
            _ what: String, _ sync: gpuvm_sync, _ error: Int32 = EINVAL, signal: Bool = false,
            flags: UInt32 = GPUVM_VM_BIND_ASYNC
        ) -> BadMessage {
            var bind = attacker.bind([map])
            bind.flags = flags
            if signal { bind.signal_count = 1 } else { bind.wait_count = 1 }
            return BadMessage(.vmBind, what, error, bind, tail: tail + RawClient.body(sync))
        }
        let timeline = { gpuvm_sync(handle: attacker.timeline, flags: 1, point: $0) }
        let binary = { gpuvm_sync(handle: $0, flags: 0, point: 0) }
        let point = timeline(5)
        list += [
            sync("a wait without ASYNC", point, flags: 0),
            sync("a signal without ASYNC", point, signal: true, flags: 0),
            sync("a point never submitted", timeline(6)),
            sync(
                "a point of a binary object",
                gpuvm_sync(handle: attacker.syncobj, flags: 1, point: 1)),
            sync(
                "a binary sync with a point",
                gpuvm_sync(handle: attacker.syncobj, flags: 0, point: 1)),
            sync(
                "an unknown sync flag", gpuvm_sync(handle: attacker.syncobj, flags: 2, point: 0)),
            sync("a closed object", binary(attacker.closed), ENOENT),
            sync("another client's object", binary(attacker.foreign), ENOENT),
            sync("point 0 of a timeline as a signal", timeline(0), signal: true),
            sync("a closed object as a signal", binary(attacker.closed), ENOENT, signal: true),
        ]
        return list
    }
}
