import CWireProtocol
import Fencing
import PageTables

// @unchecked: one thread at a time, see below.
/// The execution of one job's batches: an engine's registers.
///
/// ``run(_:shouldStop:)`` executes a quantum and can be called again until it returns
/// ``EngineOutcome/done`` or ``EngineOutcome/failed(_:)``. All state between two quanta is here, so
/// that jobs of many contexts take turns on one engine, and the result does not depend on where
/// quanta end. Nothing is allocated after creation.
///
/// Memory is reached through the engine's MMU only, in pieces under one hold of its lock each.
/// Semaphores and stores are naturally aligned, atomic, release and acquire.
///
/// Threading: created anywhere, then used by one thread at a time; ``failure`` may be read when
/// the job has ended.
public final class CommandContext: EngineContext, @unchecked Sendable {
    /// The engine that executes it.
    public let engine: CommandEngine
    /// Where its addresses lead.
    public let space: AddressSpace
    /// What it executes, in order.
    public let batches: [CommandBatch]
    /// What stopped it, if something did.
    public private(set) var failure: EngineFailure?
    /// Whether a store or a semaphore release was executed since ``clearSemaphoreWrites()``: other
    /// jobs' waits may be satisfied by now.
    public private(set) var wroteSemaphore = false

    private var batchIndex = 0
    /// The GPU VA of the next command, or of the current one while its transfer is under way.
    private var command: UInt64 = 0
    private var header: UInt32?
    private var transfer = Transfer()
    private var copyRun = CopyRun()
    private var buffer = CommandBuffer()

    /// What a command leads to.
    private enum Step {
        case next(UInt64)
        case transfer(Transfer)
        case wait
        case end
    }

    /// Prepares to execute `batches`; none is a job that is done at once.
    public init(engine: CommandEngine, space: AddressSpace, batches: [CommandBatch]) {
        self.engine = engine
        self.space = space
        self.batches = batches
        command = batches.first?.address ?? 0
    }

    /// Forgets ``wroteSemaphore``.
    public func clearSemaphoreWrites() { wroteSemaphore = false }

    /// Executes the next quantum.
    ///
    /// - Parameters:
    ///   - quantum: How much at most.
    ///   - shouldStop: Asked between any two pieces of work; true ends the quantum.
    public func run(
        _ quantum: EngineQuantum = EngineQuantum(), shouldStop: () -> Bool = { false }
    ) -> EngineOutcome {
        if let failure { return .failed(failure) }
        buffer.drop()
        do {
            return try execute(quantum, shouldStop)
        } catch {
            failure = error
            return .failed(error)
        }
    }

    private func execute(
        _ quantum: EngineQuantum, _ shouldStop: () -> Bool
    ) throws(EngineFailure) -> EngineOutcome {
        var commandsLeft = quantum.commands
        var bytesLeft = quantum.bytes
        while batchIndex < batches.count {
            if shouldStop() { return .yield }
            if transfer.isActive {
                if bytesLeft == 0 { return .yield }
                bytesLeft -= min(bytesLeft, try moveChunk(min(bytesLeft, quantum.chunkBytes)))
                if !transfer.isActive { advance() }
                continue
            }
            if commandsLeft == 0 { return .yield }
            commandsLeft -= 1
            switch try executeCommand() {
            case .next(let address): command = address
            case .transfer(let new):
                transfer = new
                transfer.isStreamed = copyRun.isLong(with: new)
                if !new.isActive { advance() }
            case .wait: return .blocked
            case .end:
                batchIndex += 1
                buffer.drop()
                if batchIndex < batches.count { command = batches[batchIndex].address }
            }
        }
        return .done
    }

    private func advance() { command &+= UInt64((header ?? 0) >> 16) * 4 }

    /// Moves pieces of the transfer under one hold of the MMU's lock; returns what they cost, about
    /// `limit`. A small piece costs more than its bytes, because each takes translations.
    private func moveChunk(_ limit: UInt64) throws(EngineFailure) -> UInt64 {
        do {
            return try engine.mmu.withAccess { (access) throws(Transfer.Stop) in
                var cost: UInt64 = 0
                while cost < limit, transfer.isActive {
                    cost += max(try transfer.step(limit - cost, access, space), 256)
                }
                return cost
            }
        } catch {
            switch error {
            case .source(let fault): throw fail(.source, 1, .fault(fault))
            case .destination(let fault):
                throw fail(.destination, transfer.pattern == nil ? 3 : 1, .fault(fault))
            }
        }
    }

    // MARK: one command

    private func fetch(dwords count: Int) throws(EngineFailure) {
        guard batches[batchIndex].contains(command, dwords: count) else {
            throw fail(.command, 0, .outsideBatch)
        }
        if buffer.holds(command, dwords: count) { return }
        do {
            try buffer.fetch(command, dwords: count, engine.mmu, space)
        } catch {
            let dword = Int((error.address &- command) / 4)
            throw fail(.command, dword, .fault(error))
        }
    }

    private func executeCommand() throws(EngineFailure) -> Step {
        header = nil
        guard command % 4 == 0 else {
            throw fail(.command, 0, .misaligned(address: command, alignment: 4))
        }
        try fetch(dwords: 1)
        let header = buffer.dword(command, 0)
        self.header = header
        let opcode = header & 0xff
        let flags = header >> 8 & 0xff
        let length = header >> 16
        guard let format = CommandFormat.of(opcode) else {
            throw fail(.command, 0, .unknownOpcode(UInt8(opcode)))
        }
        guard length == format.dwords ?? max(length, 1) else {
            throw fail(
                .command, 0,
                .wrongLength(dwords: Int(length), expected: Int(format.dwords ?? 1)))
        }
        guard flags & ~format.flags == 0 else {
            throw fail(.command, 0, .undefinedFlags(UInt8(flags)))
        }
        let next = command &+ UInt64(length) * 4
        if opcode == GPUVM_CMD_NOP { return .next(next) }
        try fetch(dwords: Int(length))

        switch opcode {
        case GPUVM_CMD_END: return .end
        case GPUVM_CMD_BATCH_JUMP:
            let target = buffer.qword(command, 1)
            guard target % 4 == 0 else {
                throw fail(.target, 1, .misaligned(address: target, alignment: 4))
            }
            buffer.drop()
            return .next(target)
        case GPUVM_CMD_COPY_LINEAR, GPUVM_CMD_COPY_PITCHED, GPUVM_CMD_FILL:
            return .transfer(decodeTransfer(opcode))
        case GPUVM_CMD_SEMAPHORE_WAIT:
            if try semaphoreIsSatisfied(flags) { return .next(next) }
            return .wait
        default:
            try store(opcode, flags)
            return .next(next)
        }
    }

    private func decodeTransfer(_ opcode: UInt32) -> Transfer {
        let first = buffer.qword(command, 1)
        let second = buffer.qword(command, 3)
        return switch opcode {
        case GPUVM_CMD_COPY_LINEAR:
            Transfer(copy: buffer.qword(command, 5), from: first, to: second)
        case GPUVM_CMD_FILL:
            Transfer(fill: second, at: first, pattern: buffer.dword(command, 5))
        default:
            Transfer(
                copyLines: buffer.dword(command, 8), of: buffer.dword(command, 7), from: first,
                sourcePitch: buffer.dword(command, 5), to: second,
                destinationPitch: buffer.dword(command, 6))
        }
    }

    private func semaphoreIsSatisfied(_ flags: UInt32) throws(EngineFailure) -> Bool {
        let isDword = flags & GPUVM_CMD_SEMAPHORE_32 != 0
        let memory = try access(.semaphore, bytes: isDword ? 4 : 8, .read) { word in
            isDword ? UInt64(word.load32()) : word.load64()
        }
        var value = buffer.qword(command, 3)
        let mask = buffer.qword(command, 5)
        if isDword { value &= 0xffff_ffff }
        guard let satisfied = CommandFormat.compare(memory & mask, flags, value) else {
            throw fail(.command, 0, .undefinedFlags(UInt8(flags)))
        }
        return satisfied
    }

    private func store(_ opcode: UInt32, _ flags: UInt32) throws(EngineFailure) {
        switch opcode {
        case GPUVM_CMD_STORE_DWORD:
            let value = buffer.dword(command, 3)
            try access(.destination, bytes: 4, .write) { $0.store32(value) }
            wroteSemaphore = true
        case GPUVM_CMD_STORE_QWORD:
            let value = buffer.qword(command, 3)
            try access(.destination, bytes: 8, .write) { $0.store64(value) }
            wroteSemaphore = true
        case GPUVM_CMD_SEMAPHORE_RELEASE:
            let value = buffer.qword(command, 3)
            if flags & GPUVM_CMD_SEMAPHORE_32 != 0 {
                let low = UInt32(truncatingIfNeeded: value)
                try access(.semaphore, bytes: 4, .write) { $0.store32(low) }
            } else {
                try access(.semaphore, bytes: 8, .write) { $0.store64(value) }
            }
            wroteSemaphore = true
        default:
            try access(.destination, bytes: 8, .write) { $0.store64(Runtime.now()) }
        }
    }

    /// Reaches the aligned word at the command's first operand; null reads 0 and drops writes.
    @discardableResult
    private func access(
        _ operand: EngineFailure.Operand, bytes: UInt64, _ intent: AccessKind,
        _ body: (AtomicWord) -> UInt64
    ) throws(EngineFailure) -> UInt64 {
        let address = buffer.qword(command, 1)
        guard address % bytes == 0 else {
            throw fail(operand, 1, .misaligned(address: address, alignment: bytes))
        }
        do {
            return try AtomicWord.reach(address, bytes: bytes, intent, engine.mmu, space, body)
        } catch {
            throw fail(operand, 1, .fault(error))
        }
    }

    private func fail(
        _ operand: EngineFailure.Operand, _ dword: Int, _ cause: EngineFailure.Cause
    ) -> EngineFailure {
        EngineFailure(
            engine: engine.name, batch: batches[batchIndex].address, command: command,
            header: header, operand: operand, dword: dword, cause: cause)
    }
}
