import Fencing
import PageTables

// @unchecked: one thread at a time, see below.
/// The execution of one job's push buffers on a channel.
///
/// ``run(_:shouldStop:)`` executes a quantum and can be called again until it returns
/// ``EngineOutcome/done`` or ``EngineOutcome/failed(_:)``. What a job needs between two quanta is
/// here, what outlives it is in its ``NVIDIAChannel``, and the result does not depend on where
/// quanta end. Nothing is allocated after creation.
///
/// Everything is executed in the order of the push buffer, one method after the other: waits for
/// idle, cache operations and barriers are accepted and have nothing left to do, and a semaphore is
/// released after the copy that it belongs to.
///
/// Memory is reached through the engine's MMU only, in pieces under one hold of its lock each.
///
/// Threading: created anywhere, then used by one thread at a time; the jobs of a channel run one
/// after the other. ``failure`` may be read when the job has ended.
public final class NVIDIAContext: EngineContext, @unchecked Sendable {
    /// What a method leads to.
    enum Progress {
        case done
        /// An acquire is not satisfied; the method is executed again.
        case blocked
        /// A copy is under way; the method is done when that is.
        case launched
    }

    /// The engine that executes it.
    public let engine: NVIDIAEngine
    /// Whose registers and bindings it uses.
    public let channel: NVIDIAChannel
    /// Where its addresses lead.
    public let space: AddressSpace
    /// What it executes, in order.
    public let pushes: [NVIDIAPush]
    /// What stopped it, if something did.
    public private(set) var failure: EngineFailure?
    /// Whether memory that others may wait for was written since ``clearSemaphoreWrites()``:
    /// semaphores, reports, and data out of the push buffer.
    public private(set) var wroteSemaphore = false

    var tally = NVIDIATally()
    /// The method at work.
    var current: NVIDIAMethod?
    private var pushIndex = 0
    /// Bytes of the current push that are done.
    private var position: UInt64 = 0
    private var header: MethodHeader?
    private var headerDword: UInt32?
    private var headerPosition: UInt64 = 0
    /// Data dwords of the current header that are done.
    private var dataIndex: UInt32 = 0
    private var buffer = CommandBuffer()
    /// The copy under way, in one of two forms, and what comes after it.
    private var launch: CopyLaunch?
    private var hasBegun = false
    /// The missing barrier that this quantum found.
    var hazard: EngineFailure?
    private var transfer = Transfer()
    private var surfaceCopy = SurfaceCopy()
    private var copyRun = CopyRun()

    /// Prepares to execute `pushes`; none is a job that is done at once.
    public init(
        engine: NVIDIAEngine, channel: NVIDIAChannel, space: AddressSpace, pushes: [NVIDIAPush]
    ) {
        self.engine = engine
        self.channel = channel
        self.space = space
        self.pushes = pushes
    }

    /// Forgets ``wroteSemaphore``.
    public func clearSemaphoreWrites() { wroteSemaphore = false }

    /// The missing barrier that ended the last quantum, once.
    public func takeHazard() -> EngineFailure? {
        defer { hazard = nil }
        return hazard
    }

    /// Executes the next quantum. A method, a data dword and a macro's instruction count as a
    /// command each.
    ///
    /// - Parameters:
    ///   - quantum: How much at most.
    ///   - shouldStop: Asked between any two pieces of work; true ends the quantum.
    public func run(
        _ quantum: EngineQuantum = EngineQuantum(), shouldStop: () -> Bool = { false }
    ) -> EngineOutcome {
        if let failure { return .failed(failure) }
        buffer.drop()
        hazard = nil
        if !hasBegun {
            hasBegun = true
            channel.hazards.beginJob()
        }
        defer {
            engine.counters.add(tally)
            tally = NVIDIATally()
        }
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
        while true {
            if shouldStop() { return .yield }
            if let launch {
                if transfer.isActive || surfaceCopy.isActive {
                    if bytesLeft == 0 { return .yield }
                    bytesLeft -= min(bytesLeft, try moveChunk(min(bytesLeft, quantum.chunkBytes)))
                    continue
                }
                // What was copied may be what another job waits for.
                if launch.transfers { wroteSemaphore = true }
                try finish(launch)
                self.launch = nil
                advance()
                continue
            }
            let isMacro = channel.macros.isReady
            if !isMacro && pushIndex == pushes.count { return .done }
            if commandsLeft == 0 { return .yield }
            commandsLeft -= 1
            let progress = isMacro ? try stepMacro() : try executeDword()
            if progress == .blocked { return .blocked }
            if hazard != nil { return .yield }
        }
    }

    // MARK: the push buffer

    /// Executes the next dword: a header, or data.
    private func executeDword() throws(EngineFailure) -> Progress {
        let push = pushes[pushIndex]
        guard push.address % 4 == 0, push.bytes % 4 == 0 else {
            throw fail(
                .command, .misaligned(address: push.address | push.bytes, alignment: 4))
        }
        if position == push.bytes {
            guard header == nil else { throw fail(.command, .outsideBatch) }
            nextPush()
            return .done
        }
        let dword = try fetch(push.address &+ position)
        guard let header else {
            try begin(dword)
            return .done
        }
        return try execute(header, header.mode == .immediate ? header.immediate : dword)
    }

    private func nextPush() {
        pushIndex += 1
        position = 0
        // What follows may just have been written.
        buffer.drop()
    }

    private func fetch(_ address: UInt64) throws(EngineFailure) -> UInt32 {
        if !buffer.holds(address, dwords: 1) {
            do {
                try buffer.fetch(address, dwords: 1, engine.mmu, space)
            } catch {
                throw fail(.command, .fault(error))
            }
        }
        return buffer.dword(address, 0)
    }

    /// Begins a method header. An immediate is its own data, so that its dword stays the next one.
    private func begin(_ dword: UInt32) throws(EngineFailure) {
        current = nil
        headerPosition = position
        headerDword = dword
        if dword == 0 {
            position &+= 4
            return
        }
        guard let new = MethodHeader(dword) else { throw fail(.command, .badMethodHeader) }
        if new.mode == .endOfSegment {
            nextPush()
            return
        }
        if new.mode != .immediate { position &+= 4 }
        dataIndex = 0
        if new.count > 0 { header = new }
        setCurrent(new, new.immediate)
    }

    private func setCurrent(_ header: MethodHeader, _ value: UInt32) {
        let method = header.method(at: dataIndex)
        let classID =
            method < 0x100 ? channel.classes.host : channel.binding(header.subchannel)
        let kind: NVIDIAClassKind? = method < 0x100 ? .host : channel.classes.kind(of: classID)
        current = NVIDIAMethod(
            classID: classID, kind: kind, subchannel: header.subchannel,
            method: UInt16(truncatingIfNeeded: method), value: value)
    }

    private func execute(
        _ header: MethodHeader, _ value: UInt32
    ) throws(EngineFailure) -> Progress {
        setCurrent(header, value)
        guard let kind = current?.kind else { throw fail(.command, .unboundSubchannel) }
        let progress = try perform(kind, header.method(at: dataIndex), value)
        switch progress {
        case .blocked: return .blocked
        case .launched: return .launched
        case .done:
            advance()
            return .done
        }
    }

    /// The data dword is done.
    private func advance() {
        position &+= 4
        dataIndex &+= 1
        if let header, dataIndex == header.count { self.header = nil }
    }

    /// Executes a method of a class.
    func perform(
        _ kind: NVIDIAClassKind, _ method: UInt32, _ value: UInt32
    ) throws(EngineFailure) -> Progress {
        #if MUTANTS
            let isSilent = Mutant.isPlanted("refusalSilent")
            if isSilent, MethodRules.isRefused(kind, method) { return .done }
        #endif
        if MethodRules.isRefused(kind, method) { throw refuse(.unsupportedMethod) }
        let progress: Progress =
            switch kind {
            case .host: try performHost(method, value)
            case .threeD: try perform3D(method, value)
            case .compute: try performCompute(method, value)
            case .inlineToMemory: try performInline(.inlineToMemory, method, value)
            case .twoD: performState(.twoD, method, value)
            case .copy: try performCopy(method, value)
            }
        if progress != .blocked { tally.methods[kind.rawValue] &+= 1 }
        if HazardRules.orders(kind, method, value) { channel.hazards.order() }
        return progress
    }

    /// A method that has no effect but to be remembered.
    func performState(_ kind: NVIDIAClassKind, _ method: UInt32, _ value: UInt32) -> Progress {
        channel.setRegister(kind, method, value)
        return .done
    }

    // MARK: macros

    private func stepMacro() throws(EngineFailure) -> Progress {
        let macros = channel.macros
        if let issue = macros.issue {
            guard issue.method >= 0x100, issue.method < 0x3800 else {
                throw fail(.command, .macro(.badInstruction))
            }
            current = NVIDIAMethod(
                classID: channel.classes.threeD, kind: .threeD,
                subchannel: current?.subchannel ?? 0,
                method: UInt16(truncatingIfNeeded: issue.method), value: issue.value)
            let progress = try perform(.threeD, issue.method, issue.value)
            if progress == .done { macros.dropIssue() }
            return progress
        }
        let channel = channel
        do {
            try macros.step { channel.shadowRegister($0) }
        } catch {
            throw fail(.command, .macro(error))
        }
        return .done
    }

    // MARK: copies

    /// Starts a copy in one form or the other.
    func start(_ launch: CopyLaunch, _ transfer: Transfer, _ surfaceCopy: SurfaceCopy) {
        self.launch = launch
        self.transfer = transfer
        self.transfer.isStreamed = copyRun.isLong(with: transfer)
        self.surfaceCopy = surfaceCopy
        tally.launches &+= 1
    }

    /// Moves pieces of the copy under one hold of the MMU's lock; returns what they cost, about
    /// `limit`. A small piece costs more than its bytes, because each takes translations.
    private func moveChunk(_ limit: UInt64) throws(EngineFailure) -> UInt64 {
        var moved: UInt64 = 0
        defer { tally.copiedBytes &+= moved }
        do {
            return try engine.mmu.withAccess { (access) throws(Transfer.Stop) in
                var cost: UInt64 = 0
                while cost < limit {
                    let piece: UInt64
                    if transfer.isActive {
                        piece = try transfer.step(limit - cost, access, space)
                    } else if surfaceCopy.isActive {
                        piece = try surfaceCopy.step(access, space)
                    } else {
                        break
                    }
                    moved &+= piece
                    cost += max(piece, 256)
                }
                return cost
            }
        } catch {
            switch error {
            case .source(let fault): throw fail(.source, .fault(fault))
            case .destination(let fault): throw fail(.destination, .fault(fault))
            }
        }
    }

    // MARK: memory and failures

    /// Reaches an aligned word.
    @discardableResult
    func word(
        _ operand: EngineFailure.Operand, _ address: UInt64, bytes: UInt64, _ intent: AccessKind,
        _ body: (AtomicWord) -> UInt64
    ) throws(EngineFailure) -> UInt64 {
        guard address % bytes == 0 else {
            throw fail(operand, .misaligned(address: address, alignment: bytes))
        }
        do {
            let value = try AtomicWord.reach(
                address, bytes: bytes, intent, engine.mmu, space, body)
            if intent == .write { wroteSemaphore = true }
            return value
        } catch {
            throw fail(operand, .fault(error))
        }
    }

    /// Stores `count` bytes of a word, the low ones first, to neighbouring addresses.
    func store(_ value: UInt32, _ first: Int, _ count: UInt64, at address: UInt64)
        throws(EngineFailure) -> UInt64
    {
        do {
            let stored = try engine.mmu.withAccess { (access) throws(Fault) -> UInt64 in
                switch access.translate(
                    space: space, address: address, length: count, intent: .write)
                {
                case .memory(let pointer, let length):
                    var index = 0
                    while index < Int(length) {
                        let byte = value &>> UInt32(truncatingIfNeeded: 8 &* (first &+ index))
                        pointer.storeBytes(
                            of: UInt8(truncatingIfNeeded: byte), toByteOffset: index,
                            as: UInt8.self)
                        index &+= 1
                    }
                    return length
                case .null(let length): return length
                case .fault(let fault): throw fault
                }
            }
            wroteSemaphore = true
            return stored
        } catch {
            throw fail(.destination, .fault(error))
        }
    }

    /// A failure that counts as a refusal.
    func refuse(_ cause: EngineFailure.Cause) -> EngineFailure {
        tally.refusals &+= 1
        return fail(.command, cause)
    }

    /// Where the current push begins.
    private var batch: UInt64 { pushIndex < pushes.count ? pushes[pushIndex].address : 0 }

    /// The GPU VA of the current method header.
    var site: UInt64 { batch &+ headerPosition }

    func fail(_ operand: EngineFailure.Operand, _ cause: EngineFailure.Cause) -> EngineFailure {
        EngineFailure(
            engine: engine.name, batch: batch, command: site,
            header: headerDword, operand: operand,
            dword: header == nil ? 0 : Int(dataIndex) + 1, cause: cause, method: current)
    }
}
