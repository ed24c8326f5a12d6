import CWireProtocol
import Glibc
import WireProtocol

/// Queues, sync objects and introspection.
extension BadMessages {
    var queues: [BadMessage] {
        var create = gpuvm_queue_create()
        create.vm = attacker.vm
        create.priority = 1
        func bad(
            _ what: String, _ error: Int32 = EINVAL, _ change: (inout gpuvm_queue_create) -> Void
        ) -> BadMessage { BadMessage(.queueCreate, what, error, create, change) }
        var exec = gpuvm_exec()
        exec.queue = attacker.queue
        exec.batch_count = 1
        func run(
            _ what: String, _ error: Int32 = EINVAL, batch: gpuvm_batch = gpuvm_batch(),
            _ change: (inout gpuvm_exec) -> Void = { _ in }
        ) -> BadMessage {
            var contents = exec
            change(&contents)
            return BadMessage(.exec, what, error, contents, tail: RawClient.body(batch))
        }
        return [
            bad("class 2") { $0.engine_class = 2 },
            bad("class max") { $0.engine_class = .max },
            bad("an engine that is not there") { $0.engine_instance = 2 },
            bad("a bind engine that is not there") {
                $0.engine_class = 1
                $0.engine_instance = 1
            },
            bad("priority 3") { $0.priority = 3 },
            bad("priority 258, which is 2 in a byte") { $0.priority = 258 },
            bad("a flag") { $0.flags = 1 },
            bad("no VM", ENOENT) { $0.vm = 0 },
            bad("a closed VM", ENOENT) { $0.vm = attacker.closed },
            bad("another client's VM", ENOENT) { $0.vm = attacker.foreign },
            run("no queue", ENOENT) { $0.queue = 0 },
            run("a closed queue", ENOENT) { $0.queue = attacker.closed },
            run("another client's queue", ENOENT) { $0.queue = attacker.foreign },
            run("a bind queue") { $0.queue = attacker.bindQueue },
            run("a flag") { $0.flags = 1 },
            run("reserved") { $0.reserved = 1 },
            run("a misaligned batch", batch: gpuvm_batch(address: 2, bytes: 0)),
            run("a misaligned length", batch: gpuvm_batch(address: 0, bytes: 3)),
            run("an overflowing batch", batch: gpuvm_batch(address: .max - 3, bytes: 8)),
            run("more batches than there are") { $0.batch_count = 2 },
            run("2^32 - 1 batches", E2BIG) { $0.batch_count = .max },
            run("2^32 - 1 waits", E2BIG) { $0.wait_count = .max },
            run("2^32 - 1 signals", E2BIG) { $0.signal_count = .max },
            run("fewer batches than there are") { $0.batch_count = 0 },
            run("a wait that is not there", ENOENT) {
                $0.batch_count = 0
                $0.wait_count = 1
            },
        ]
    }

    var syncobjs: [BadMessage] {
        let binary = gpuvm_sync(handle: attacker.syncobj, flags: 0, point: 0)
        let closed = gpuvm_sync(handle: attacker.closed, flags: 0, point: 0)
        let foreign = gpuvm_sync(handle: attacker.foreign, flags: 0, point: 0)
        let unknown = gpuvm_sync(handle: attacker.syncobj, flags: 4, point: 0)
        let pointed = gpuvm_sync(handle: attacker.syncobj, flags: 0, point: 9)
        var list = [
            BadMessage(.syncobjCreate, "a flag", EINVAL, gpuvm_syncobj_create()) { $0.flags = 2 },
            BadMessage(.syncobjCreate, "reserved", EINVAL, gpuvm_syncobj_create()) {
                $0.reserved = 1
            },
        ]
        for opcode in [Opcode.syncobjSignal, .syncobjReset, .syncobjQuery] {
            func bad(
                _ what: String, _ error: Int32, count: UInt32 = 2, flags: UInt32 = 0,
                _ second: gpuvm_sync
            ) -> BadMessage {
                BadMessage(
                    opcode, what, error, gpuvm_syncobj_array(count: count, flags: flags),
                    tail: RawClient.body(binary) + RawClient.body(second))
            }
            list += [
                bad("a flag", EINVAL, flags: 2, binary),
                bad("count 0", EINVAL, count: 0, binary),
                bad("count 1 of 2", EINVAL, count: 1, binary),
                bad("count 3 of 2", EINVAL, count: 3, binary),
                bad("count max", E2BIG, count: .max, binary),
                bad("a count that overflows", E2BIG, count: 0x1000_0002, binary),
                // The first one, which is right, must not be touched.
                bad("a closed object", ENOENT, closed),
                bad("another client's object", ENOENT, foreign),
                bad("an unknown sync flag", EINVAL, unknown),
                bad("a binary sync with a point", EINVAL, pointed),
            ]
        }
        func wait(
            _ what: String, _ error: Int32 = EINVAL, _ sync: gpuvm_sync? = nil,
            count: UInt32 = 1, flags: UInt32 = 0, deadline: Int64 = 0
        ) -> BadMessage {
            BadMessage(
                .syncobjWait, what, error,
                gpuvm_syncobj_wait(count: count, flags: flags, deadline: deadline),
                tail: RawClient.body(sync ?? binary))
        }
        let pending = gpuvm_sync(handle: attacker.timeline, flags: 1, point: 6)
        list += [
            wait("a flag", flags: 8),
            wait("count 0", count: 0),
            wait("count max", E2BIG, count: .max),
            wait("a closed object", ENOENT, closed),
            wait("another client's object", ENOENT, foreign),
            wait("a point never submitted", EINVAL, pending),
            wait("a deadline before time", ETIME, pending, flags: 2, deadline: .min),
            wait("a deadline of 0", ETIME, pending, flags: 2, deadline: 0),
        ]
        var transfer = gpuvm_syncobj_transfer()
        transfer.source = binary
        transfer.destination = binary
        func move(
            _ what: String, _ error: Int32 = EINVAL,
            _ change: (inout gpuvm_syncobj_transfer) -> Void
        ) -> BadMessage { BadMessage(.syncobjTransfer, what, error, transfer, change) }
        list += [
            move("a flag") { $0.flags = 1 },
            move("reserved") { $0.reserved = 1 },
            move("a source never submitted") { $0.source = pending },
            move("a closed source", ENOENT) { $0.source = closed },
            move("a closed destination", ENOENT) { $0.destination = closed },
            move("an unknown sync flag") { $0.destination = unknown },
        ]
        let export = gpuvm_syncobj_export(handle: attacker.syncobj, flags: 0, point: 0)
        list += [
            BadMessage(.syncobjExport, "a flag", EINVAL, export) { $0.flags = 2 },
            BadMessage(.syncobjExport, "a point of the object", EINVAL, export) { $0.point = 1 },
            BadMessage(.syncobjExport, "a point never submitted", EINVAL, export) {
                $0.flags = GPUVM_EXPORT_SYNC_FILE
                $0.point = 3
            },
            BadMessage(.syncobjExport, "closed", ENOENT, export) { $0.handle = attacker.closed },
            BadMessage(.syncobjExport, "foreign", ENOENT, export) {
                $0.handle = attacker.foreign
            },
        ]
        for (what, fd) in [
            ("a pipe", fds.pipe), ("/dev/null", fds.null), ("a directory", fds.directory),
            ("a socket", fds.socket), ("a memfd", fds.memfd), ("an eventfd", fds.eventfd),
        ] {
            list += [
                BadMessage(.syncobjImport, what, EINVAL, gpuvm_syncobj_import(), fds: [fd]) {
                    _ in
                },
                BadMessage(
                    .syncobjImport, "\(what) as a sync_file", EINVAL, gpuvm_syncobj_import(),
                    fds: [fd]
                ) {
                    $0.handle = attacker.syncobj
                    $0.flags = GPUVM_IMPORT_SYNC_FILE
                },
            ]
            if fd != fds.eventfd {
                list.append(
                    BadMessage(
                        .syncobjEventfd, what, EINVAL, gpuvm_syncobj_eventfd(), fds: [fd]
                    ) { $0.handle = attacker.syncobj })
            }
        }
        list += [
            BadMessage(
                .syncobjImport, "a handle without SYNC_FILE", EINVAL, gpuvm_syncobj_import(),
                fds: [fds.socket]
            ) { $0.handle = attacker.syncobj },
            BadMessage(
                .syncobjImport, "a closed target", ENOENT, gpuvm_syncobj_import(),
                fds: [fds.socket]
            ) {
                $0.handle = attacker.closed
                $0.flags = GPUVM_IMPORT_SYNC_FILE
            },
            BadMessage(
                .syncobjImport, "a flag", EINVAL, gpuvm_syncobj_import(), fds: [fds.socket]
            ) { $0.flags = 2 },
            BadMessage(
                .syncobjEventfd, "a flag", EINVAL, gpuvm_syncobj_eventfd(), fds: [fds.eventfd]
            ) {
                $0.handle = attacker.syncobj
                $0.flags = 1
            },
            BadMessage(
                .syncobjEventfd, "a closed object", ENOENT, gpuvm_syncobj_eventfd(),
                fds: [fds.eventfd]
            ) { $0.handle = attacker.closed },
        ]
        return list
    }

    var introspection: [BadMessage] {
        var list: [BadMessage] = []
        let lists: [Opcode] = [
            .clientList, .vmList, .vmShow, .faultList, .queueList, .boList, .injectList,
            .injectFirings,
        ]
        for opcode in lists {
            list.append(BadMessage(opcode, "a flag", EINVAL, gpuvm_page()) { $0.flags = 1 })
            if opcode != .vmShow {
                list.append(BadMessage(opcode, "a handle", EINVAL, gpuvm_page()) { $0.handle = 1 })
            }
        }
        list += [
            BadMessage(.vmShow, "an unknown VM", ENOENT, gpuvm_page()) { $0.handle = 99_999 },
            BadMessage(.vmWalk, "an unknown VM", ENOENT, gpuvm_vm_walk()) { $0.vm = 99_999 },
            BadMessage(.vmWalk, "reserved", EINVAL, gpuvm_vm_walk()) { $0.reserved = 1 },
            BadMessage(.fenceInfo, "an unknown fence", ENOENT, gpuvm_fence_info()) {
                $0.sequence = .max
            },
        ]
        return list
    }
}
