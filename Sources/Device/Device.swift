import Fencing
import Memory
import PageTables
import Scheduling
import Synchronization

/// A simulated GPU: physical memory, engines with their MMUs, and the clients that use them.
///
/// Ownership: the device owns memory, engines and registries; a client owns what it has handles for;
/// jobs own what they need until they have executed. Nobody waits for the device: its threads only
/// run jobs.
///
/// Threading: every method may be called from any thread; ``shutdown(deadline:)`` once.
public final class Device: Sendable {
    /// What the device is made of.
    public let configuration: DeviceConfiguration
    /// CLOCK_MONOTONIC ns of its creation.
    public let startTime: UInt64
    /// The physical address space.
    public let memory: PhysicalMemoryMap
    /// Page-table pages of all VMs.
    public let tablePool: TablePool
    /// Reports that matter to an operator, in the order of happening.
    public let events: DeviceEvents
    /// The last faults.
    public let faults: FaultLog
    /// Switches that make requests fail on purpose.
    public let failures = FailurePoints()
    /// Faults on purpose, by rules that users make.
    public let injector = FaultInjector()

    /// Which buffers are in VRAM, and who has to leave it.
    public let residency: Residency

    let mmus: InvalidationDomain
    let copyEngines: [CopyEngine]
    let bindScheduler: EngineScheduler
    /// Ends waits at their deadlines.
    public let timers: TimerQueue
    let counters = DeviceCounters()
    private let tuning: DeviceTuning
    let releases: ReleaseBarrier

    private let registry = Guarded(.device, DeviceRegistry())
    private let nextClientID = Atomic<UInt32>(1)
    private let nextVMID = Atomic<UInt32>(1)
    private let nextQueueID = Atomic<UInt32>(1)

    /// Makes a device and starts its engines.
    ///
    /// - Parameter onEvent: Called on whatever thread something happens, with no lock held.
    /// - Throws: ``DeviceError/memory(_:)``, ``DeviceError/pageTables(_:)`` or
    ///   ``DeviceError/invalid(_:)`` if the host refuses address space or a thread.
    public init(
        _ configuration: DeviceConfiguration,
        onEvent: @escaping @Sendable (DeviceEvent) -> Void = { _ in }
    ) throws(DeviceError) {
        self.configuration = configuration
        tuning = DeviceTuning(configuration)
        startTime = Runtime.now()
        do throws(MemoryError) {
            memory = try PhysicalMemoryMap(
                systemBytes: configuration.systemBytes, vramBytes: configuration.vramBytes,
                visibleVRAMBytes: configuration.visibleVRAMBytes ?? configuration.vramBytes,
                tableBytes: configuration.pageTableBytes)
        } catch {
            throw .memory(error)
        }
        do throws(PageTableError) {
            tablePool = try TablePool(
                memory: memory, base: memory.tables.base,
                pageCount: Int(memory.tables.bytes / frameSize))
        } catch {
            throw .pageTables(error)
        }
        faults = FaultLog(capacity: configuration.faultLogEntries)
        events = DeviceEvents(faults: faults, sink: onEvent)
        timers = TimerQueue(name: "gpuvm-timer")
        let memory = memory
        let engineMMUs = (0..<configuration.copyEngines).map { _ in
            MMU(memory: memory, tlbEntries: configuration.tlbEntries)
        }
        mmus = InvalidationDomain(engineMMUs)
        let group = EngineGroup()
        var engines: [CopyEngine] = []
        do throws(SchedulingError) {
            for (instance, mmu) in engineMMUs.enumerated() {
                engines.append(try CopyEngine(instance: instance, mmu: mmu, group: group))
            }
            bindScheduler = try EngineScheduler(
                name: "gpuvm-bind", workers: configuration.bindWorkers)
        } catch {
            for engine in engines { engine.scheduler.shutdown() }
            throw .invalid("the host refuses a thread for an engine: \(error)")
        }
        copyEngines = engines
        let releases = ReleaseBarrier()
        self.releases = releases
        residency = Residency(
            memory: memory,
            migrator: CopyMigrator(
                scheduler: engines[0].scheduler, mmus: mmus, tablePool: tablePool,
                releases: releases))
        guard events.start(), (try? timers.start()) != nil else {
            shutdown(deadline: 0)
            throw .invalid("the host refuses a thread for timers and reports")
        }
    }

    /// The time-out of a job whose queue asks for none, ns.
    public var jobTimeout: UInt64 { tuning.jobTimeout }

    /// Changes what the configuration began with: quotas for clients that are admitted from now on,
    /// the time-out for queues that are made from now on.
    ///
    /// - Parameter jobTimeout: ns.
    public func change(quotas: ClientQuotas, jobTimeout: UInt64) {
        tuning.quotas = quotas
        tuning.jobTimeout = jobTimeout
    }

    /// Admits a client.
    ///
    /// - Parameters:
    ///   - name: What reports call it.
    ///   - process: Its process id, 0 if it has none.
    ///   - user: Its user id.
    ///   - isPrivileged: Whether it may use high priority and see other clients.
    public func makeClient(
        name: String, process: Int32, user: UInt32, isPrivileged: Bool
    ) -> Client {
        let quotas = tuning.quotas
        let page = FencePage(quota: quotas.syncobjs)
        let client = Client(
            id: nextClientID.add(1, ordering: .relaxed).oldValue, name: name, process: process,
            user: user, isPrivileged: isPrivileged, device: self, quotas: quotas,
            fencePage: page)
        registry.withLock { $0.clients[client.id] = client }
        return client
    }

    /// Stops the engines: what runs, and what becomes runnable through it, may finish until the
    /// deadline; the rest is cancelled. What is submitted from now on is refused.
    ///
    /// - Parameter deadline: CLOCK_MONOTONIC ns.
    public func shutdown(deadline: UInt64) {
        // Together, because their jobs wait for each other; the bind engine is cancelled last, so that
        // no command stream runs behind a bind that did not.
        EngineScheduler.shutdown(
            copyEngines.map(\.scheduler) + [bindScheduler], gracefulUntil: deadline)
        timers.stop()
        events.stop()
    }

    /// All clients, oldest first.
    public var clients: [Client] {
        registry.withLock { $0.clients.values.sorted { $0.id < $1.id } }
    }

    /// All live buffers, oldest first.
    var buffers: [BufferObject] {
        registry.withLock { $0.buffers.live }
    }

    /// What nobody holds and is not gone, oldest first: jobs use it still, or it is just going.
    var unheldBuffers: [BufferReference] {
        // Looked at outside of the lock, as the last reference to a buffer may end here.
        registry.withLock { $0.buffers.references }.filter {
            !$0.isOver && ($0.buffer?.hardReferenceCount ?? 0) == 0
        }
    }

    func remove(_ client: Client) {
        registry.withLock { _ = $0.clients.removeValue(forKey: client.id) }
    }

    func register(_ buffer: BufferObject) {
        registry.withLock { $0.buffers.insert(buffer) }
    }

    /// The live buffer that a file is the memory of.
    func buffer(_ identity: FileIdentity) -> BufferObject? {
        registry.withLock { $0.buffers[identity] }
    }

    func makeVMID() -> UInt32 { nextVMID.add(1, ordering: .relaxed).oldValue }
    func makeQueueID() -> UInt32 { nextQueueID.add(1, ordering: .relaxed).oldValue }
}
