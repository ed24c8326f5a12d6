import Engines
import Fencing
import Memory
import PageTables

/// A device as the nouveau driver presents it: what all open files of it share.
///
/// Threading: any thread.
public final class NouveauDevice: Sendable {
    /// The device behind.
    public let device: Device
    /// What it is taken for.
    public let model: NouveauModel
    /// What its ioctls came to.
    public let statistics = IoctlStatistics()

    /// How long a job may take, ns.
    let jobTimeout: UInt64
    let fenceFiles: FenceFDRegistry
    let eventFDs: EventFDSignaller
    let gems = Guarded(.gemRegistry, GEMRegistry())
    /// What executes push buffers, one for each of the device's engines and on its MMU.
    public let engines: [NVIDIAEngine]

    /// NOUVEAU_SCHED_JOB_TIMEOUT_MS (drivers/gpu/drm/nouveau/nouveau_sched.c), ns.
    public static let defaultJobTimeout: UInt64 = 10_000_000_000

    /// Presents `device`.
    ///
    /// - Parameters:
    ///   - fenceFiles: Where the descriptors of fences and sync objects are known.
    ///   - eventFDs: Signals clients' eventfds.
    ///   - jobTimeout: How long a job may take, ns.
    public init(
        _ device: Device, model: NouveauModel = .tu104, fenceFiles: FenceFDRegistry,
        eventFDs: EventFDSignaller, jobTimeout: UInt64 = NouveauDevice.defaultJobTimeout
    ) {
        self.device = device
        self.model = model
        self.jobTimeout = jobTimeout
        self.fenceFiles = fenceFiles
        self.eventFDs = eventFDs
        engines = device.copyEngines.map {
            NVIDIAEngine(
                name: $0.commands.name, mmu: $0.commands.mmu,
                hazards: device.configuration.hazards)
        }
    }

    /// Which of the device's engines executes the channels of a kind.
    func engineInstance(isCopyEngine: Bool) -> Int {
        isCopyEngine ? device.copyEngines.count - 1 : 0
    }

    /// Bytes of VRAM in use, page tables included; never 0, as a driver's own tables take some.
    var vramUsed: UInt64 {
        let tables = UInt64(max(1, device.tablePool.allocated)) * frameSize
        return device.memory.vramUsedBytes + tables
    }

    /// Bytes of VRAM that the CPU reaches.
    var barBytes: UInt64 {
        device.configuration.visibleVRAMBytes ?? device.memory.vramBytes
    }
}

extension LockClass {
    /// An open file's tables; nothing is called under it.
    static let openFile = LockClass("open-file", rank: 12, signallingSafe: false)
    /// The layouts of GEM objects; nothing is called under it.
    static let gemRegistry = LockClass("gem-registry", rank: 13, signallingSafe: false)
}
