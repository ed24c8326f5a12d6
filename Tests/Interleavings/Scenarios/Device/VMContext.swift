import Device
import Fencing
import Memory
import TestSupport

/// One VM of a client with a queue, and the model of what it maps and of the bytes behind it.
///
/// All its submissions are one chain: each waits for the one before, by a timeline or on the CPU.
final class VMContext {
    /// What a page of the VM shows.
    enum Page {
        case buffer(BufferModel, page: Int, isReadOnly: Bool)
        case null
    }

    /// What a job will have done.
    enum Effect {
        case fill(BufferModel, blocks: Range<Int>, pattern: UInt32)
        case copy(BufferModel, blocks: Range<Int>, from: BufferModel?, first: Int)
    }

    struct Pending {
        var fence: Fence
        var isExec: Bool
        var effects: [Effect] = []
        /// The job accesses what is not mapped, or writes what is read-only.
        var faults = false
    }

    static let base: UInt64 = 0x10_0000
    static let batchBase: UInt64 = 0x4000_0000
    static let pageBytes: UInt64 = 4096
    static let pageCount = 64
    static let batchPages = 4

    let world: DeviceWorld
    let run: Run
    let client: Client
    let number: Int
    var random: SplitMix64

    let flags: DeviceVM.Flags
    var vm: UInt32 = 0
    var queue: UInt32 = 0
    var bindQueue: UInt32 = 0
    var timeline: UInt32 = 0
    var lastPoint: UInt64 = 0
    /// The point of the last job, behind which there may be binds.
    var lastJobPoint: UInt64 = 0
    var batch: BufferModel?
    var nextBatch = 0
    var buffers: [BufferModel] = []
    /// Buffers without a handle that the VM still maps.
    var closed: [BufferModel] = []
    var pages: [Page?] = Array(repeating: nil, count: VMContext.pageCount)
    var pending: [Pending] = []
    /// Whether the VM has the sparse region of ``sparseRegion()``.
    var hasSparseRegion = false
    /// The VM is unusable: a bind job failed or its jobs were cancelled.
    var isDead = false
    /// What was asked for and is not there: the context does nothing.
    var isOpen = false

    init(_ world: DeviceWorld, _ client: Client, number: Int, random: SplitMix64) {
        self.world = world
        run = world.run
        self.client = client
        self.number = number
        self.random = random
        flags = [
            self.random.chance(3) ? .immediateMode : [],
            self.random.chance(3) ? .weakReferences : [],
        ]
        open()
    }

    // MARK: - The program

    /// One random request, or a few.
    func step() {
        guard isOpen else { return open() }
        if isDead { return reopen() }
        switch random.below(16) {
        case 0, 1, 2: createAndMap()
        case 3: if let buffer = buffers.randomElement(using: &random) { map(buffer) }
        case 4: unmapRange()
        case 5: unmapAll()
        case 6: mapNull()
        case 7: closeBuffer()
        case 8: prefetch()
        case 9: random.chance(3) ? bindWrongly() : settle()
        case 10 where random.chance(3): reopen()
        case 10: sparseRegion()
        case 11 where random.chance(2): sparseRegion()
        case 11 where random.chance(3): executeFault()
        default: execute()
        }
        if isDead, isOpen { reopen() }
    }

    /// Waits for everything and compares.
    func finish() {
        guard isOpen else { return }
        settle()
    }

    /// The client was closed, whatever ran.
    func abandon() {
        settlePending(isAborted: true)
        isOpen = false
    }

    // MARK: - The VM

    func open() {
        let made = attempt("create a VM") { () throws(DeviceError) in
            try client.createVM(name: "vm\(number)", start: 0, range: 1 << 40, flags: flags)
        }
        guard let made else { return }
        vm = made.handle
        guard
            let queue = attempt(
                "create a queue",
                { () throws(DeviceError) in
                    try client.createQueue(
                        vm: vm, engineClass: .copy,
                        instance: random.below(world.device.configuration.copyEngines))
                }),
            let point = attempt(
                "create a timeline",
                { () throws(DeviceError) in
                    try client.createSyncobj(isSignalled: false)
                })
        else { return closeVM() }
        self.queue = queue
        timeline = point.handle
        lastPoint = 0
        lastJobPoint = 0
        hasSparseRegion = false
        bindQueue = 0
        if random.chance(2) {
            bindQueue =
                attempt("create a bind queue") { () throws(DeviceError) in
                    try client.createQueue(vm: vm, engineClass: .bind)
                } ?? 0
        }
        isDead = false
        isOpen = true
        makeBatch()
        for memory in world.shared where isOpen && !hasBuffer(memory) { importShared(memory) }
    }

    private func hasBuffer(_ memory: SharedMemory) -> Bool {
        buffers.contains { $0.memory === memory && $0.handle != nil }
    }

    func closeVM() {
        isOpen = false
        do throws(DeviceError) {
            try client.closeVM(vm)
        } catch {
            run.fail("close a VM: \(error)")
        }
    }

    /// Closes the VM, whatever runs in it, and makes another one; buffers and bytes stay.
    func reopen() {
        if !isDead, random.chance(2) { settle() }
        closeVM()
        // Nothing runs any more: what did not end well may have written or not.
        settlePending(isAborted: true)
        pages = Array(repeating: nil, count: Self.pageCount)
        closed = []
        // A VM's own buffers cannot be mapped in another one.
        for buffer in buffers where buffer.isLocal {
            if let handle = buffer.handle { try? client.closeBuffer(handle) }
        }
        buffers.removeAll { $0.isLocal }
        if let handle = batch?.handle { try? client.closeBuffer(handle) }
        batch = nil
        try? client.destroySyncobj(timeline)
        run.count("VMs closed")
        open()
    }
}
