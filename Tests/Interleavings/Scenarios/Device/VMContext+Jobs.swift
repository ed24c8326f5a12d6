import Device
import Engines
import Fencing
import Glibc
import Memory
import TestSupport
import WireProtocol

// Jobs, and what has become of them.
extension VMContext {
    /// Memory for command streams, mapped outside of what random requests change.
    func makeBatch() {
        let made = attempt("create the batch buffer") { () throws(DeviceError) in
            try client.createBuffer(
                name: "batch", size: UInt64(Self.batchPages) * Self.pageBytes, placement: .system)
        }
        guard let made else { return closeVM() }
        batch = BufferModel(
            made.buffer.backing, handle: made.handle, isVRAM: false, needsCPUAccess: true,
            owns: { _ in false })
        let before = lastPoint
        bind([
            BindOperation(
                .map, address: Self.batchBase, range: UInt64(Self.batchPages) * Self.pageBytes,
                buffer: made.buffer)
        ]) {}
        if lastPoint == before {
            try? client.closeBuffer(made.handle)
            batch = nil
            closeVM()
        }
    }

    /// A few fills and copies between pages whose bytes are this context's.
    func execute() {
        var targets: [(page: Int, buffer: BufferModel, of: Int)] = []
        var sources: [(page: Int, buffer: BufferModel?, of: Int)] = []
        for page in pages.indices {
            switch pages[page] {
            case .null: sources.append((page, nil, 0))
            case .buffer(let buffer, let of, let isReadOnly) where buffer.ownedPages[of]:
                sources.append((page, buffer, of))
                if !isReadOnly { targets.append((page, buffer, of)) }
            default: break
            }
        }
        guard !targets.isEmpty else { return }
        var writer = CommandWriter()
        var effects: [Effect] = []
        for _ in 0...random.below(3) {
            let target = targets[random.below(targets.count)]
            let first = random.below(BufferModel.blocksPerPage)
            let count = 1 + random.below(BufferModel.blocksPerPage - first)
            let offset = UInt64(first * BufferModel.blockBytes)
            let bytes = UInt64(count * BufferModel.blockBytes)
            let start = target.of * BufferModel.blocksPerPage + first
            if random.chance(2) {
                let source = sources[random.below(sources.count)]
                let from = source.of * BufferModel.blocksPerPage + first
                writer.copy(
                    from: address(source.page) + offset, to: address(target.page) + offset,
                    bytes: bytes)
                effects.append(
                    .copy(
                        target.buffer, blocks: start..<(start + count), from: source.buffer,
                        first: from))
            } else {
                let pattern = UInt32(truncatingIfNeeded: random.next())
                writer.fill(address(target.page) + offset, bytes: bytes, pattern: pattern)
                effects.append(
                    .fill(target.buffer, blocks: start..<(start + count), pattern: pattern))
            }
        }
        submit(writer, effects, faults: false)
    }

    /// A job that touches what is not mapped: its queue is banned, and only that.
    func executeFault() {
        guard let hole = pages.indices.filter({ pages[$0] == nil }).randomElement(using: &random)
        else { return }
        settle()
        guard isOpen, !isDead else { return }
        var writer = CommandWriter()
        writer.store(address(hole), dword: 1)
        submit(writer, [], faults: true)
        settle()
        guard isOpen, !isDead else { return }
        try? client.closeQueue(queue)
        guard
            let made = attempt(
                "create a queue",
                { () throws(DeviceError) in
                    try client.createQueue(vm: vm, engineClass: .copy)
                })
        else { return reopen() }
        queue = made
        run.count("faults provoked")
    }

    private func submit(_ writer: CommandWriter, _ effects: [Effect], faults: Bool) {
        guard let batch else { return }
        // A page of the batch buffer is used again when its job has ended.
        nextBatch += 1
        if nextBatch % Self.batchPages == 0 { settle() }
        guard isOpen, !isDead else { return }
        let offset = (nextBatch % Self.batchPages) * Int(Self.pageBytes)
        var writer = writer
        writer.end()
        writer.dwords.withUnsafeBytes {
            UnsafeMutableRawBufferPointer(
                start: batch.memory.host + offset, count: Int(Self.pageBytes)
            ).copyMemory(from: $0)
        }
        let (waits, signals) = chain()
        let fence = attempt("execute", mayLackMemory: !fits) { () throws(DeviceError) in
            try client.execute(
                queue: queue, batches: [CommandBatch(address: Self.batchBase + UInt64(offset))],
                waits: waits, signals: signals)
        }
        guard let fence else { return }
        lastPoint += 1
        lastJobPoint = lastPoint
        pending.append(
            Pending(fence: fence, isExec: true, effects: effects, faults: faults))
        run.count("jobs")
    }

    /// Orders a submission behind the one before; a bind sometimes only behind the last job, because
    /// binds of overlapping ranges are in order by themselves.
    func chain(isBind: Bool = false) -> (waits: [SyncPoint], signals: [SyncPoint]) {
        if random.chance(4) { settle() }
        let point = isBind && random.chance(2) ? lastJobPoint : lastPoint
        let waits =
            pending.isEmpty || point == 0
            ? [] : [SyncPoint(handle: timeline, point: point, isTimeline: true)]
        return (waits, [SyncPoint(handle: timeline, point: lastPoint + 1, isTimeline: true)])
    }

    // MARK: - The end of jobs

    /// Waits for all submissions, does to the model what they did, and compares the bytes.
    func settle() {
        settlePending(isAborted: false)
        for buffer in buffers + closed { buffer.check(run, "context \(number)") }
        // The driver's own unmaps of a weak VM are not among the submissions.
        if !flags.contains(.weakReferences) { closed.removeAll { !isMapped($0) } }
    }

    func settlePending(isAborted: Bool) {
        var isAborted = isAborted || isDead
        for entry in pending {
            let deadline = Runtime.deadline(after: 1_000_000_000_000)
            run.require(entry.fence.wait(deadline: deadline), "a fence never signals")
            let error = entry.fence.error
            if !entry.isExec, error == DeviceWorld.injectedErrno, world.injects {
                // From here on the VM is banned.
                isDead = true
                isAborted = true
            }
            let isExpected =
                error == (entry.faults ? EIO : 0)
                // The driver's own unmap of what nobody holds may have met the failure.
                || (world.injects && entry.faults && error == 0)
            if !isExpected, isBanned { (isDead, isAborted) = (true, true) }
            if !isAborted, !world.isStopped {
                run.require(
                    isExpected,
                    "a \(entry.isExec ? "job" : "bind") ended with \(error): \(faults())")
            }
            for effect in entry.effects { apply(effect, isSure: error == 0) }
        }
        pending = []
    }

    private func faults() -> String {
        let reports = world.device.faults.reports(after: 0, limit: 100)
        return reports.last.map { "\($0)" } ?? "no fault"
    }

    private func apply(_ effect: Effect, isSure: Bool) {
        switch effect {
        case .fill(let buffer, let blocks, let pattern):
            for block in blocks { buffer[block] = isSure ? pattern : nil }
        case .copy(let buffer, let blocks, let source, let first):
            // From low to high, as the engine: source and target may be one.
            for (index, block) in blocks.enumerated() {
                buffer[block] = !isSure ? nil : source.map { $0[first + index] } ?? 0
            }
        }
    }
}
