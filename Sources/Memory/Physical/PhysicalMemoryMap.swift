import CPlatform
import Fencing
import PageTables

/// The device's physical address space: system memory, VRAM, of which the CPU may see a part only,
/// and the part of VRAM that holds page tables and is mapped by no client.
///
/// Threading: immutable after creation; see ``MemoryRegion``.
public final class PhysicalMemoryMap: PhysicalMemory {
    /// Where system memory begins: 4 GiB, so that a null pointer is no frame.
    public static let systemBase: PhysicalAddress = 1 << 32
    /// Where VRAM begins, above all system memory.
    public static let vramBase: PhysicalAddress = 1 << 44

    /// Frames for buffers in system memory.
    public let system: MemoryRegion
    /// Frames for buffers in VRAM that the CPU can see.
    public let vram: MemoryRegion
    /// Frames in VRAM beyond the CPU's reach; nil where there are none (a "full BAR").
    public let hiddenVRAM: MemoryRegion?
    /// Private VRAM: the pages of page tables.
    public let tables: PrivateMemory

    /// Creates the map.
    ///
    /// - Parameters:
    ///   - systemBytes, vramBytes: Sizes of the memories for buffers.
    ///   - visibleVRAMBytes: How much of VRAM the CPU can see, at least a frame.
    ///   - tableBytes: Size of the page-table memory, which lies behind `vramBytes` of VRAM.
    /// - Throws: ``MemoryError`` if the host refuses address space.
    public init(
        systemBytes: UInt64, vramBytes: UInt64, visibleVRAMBytes: UInt64, tableBytes: UInt64
    ) throws(MemoryError) {
        system = try MemoryRegion(
            placement: .system, base: Self.systemBase, bytes: systemBytes)
        let visible = min(visibleVRAMBytes, vramBytes)
        vram = try MemoryRegion(placement: .vram, base: Self.vramBase, bytes: visible)
        let hiddenBase = Self.vramBase + Self.roundedUp(visible)
        let hidden = vramBytes - visible
        hiddenVRAM =
            hidden < frameSize
            ? nil : try MemoryRegion(placement: .vram, base: hiddenBase, bytes: hidden)
        tables = try PrivateMemory(
            base: hiddenBase + Self.roundedUp(hidden), bytes: tableBytes)
    }

    /// Regions begin at multiples of 1 GiB.
    private static func roundedUp(_ bytes: UInt64) -> UInt64 {
        let gigabyte: UInt64 = 1 << 30
        return (bytes + gigabyte - 1) / gigabyte * gigabyte
    }

    /// Bytes of VRAM for buffers, whether or not the CPU can see them.
    public var vramBytes: UInt64 { vram.bytes + (hiddenVRAM?.bytes ?? 0) }

    /// Bytes of VRAM that buffers hold.
    public var vramUsedBytes: UInt64 { vram.usedBytes + (hiddenVRAM?.usedBytes ?? 0) }

    /// Where a buffer may be, the best first: what the CPU need not see leaves the visible part to
    /// others while there is room.
    func regions(_ placement: Placement, needsCPUAccess: Bool) -> [MemoryRegion] {
        switch placement {
        case .system: [system]
        case .vram:
            if !needsCPUAccess, let hiddenVRAM { [hiddenVRAM, vram] } else { [vram] }
        }
    }

    /// What kind of memory an address is in; nil for an address that is no frame.
    public func placement(of address: PhysicalAddress) -> Placement? {
        if system.contains(address) { return .system }
        let isVRAM =
            vram.contains(address) || hiddenVRAM?.contains(address) == true
            || tables.contains(address)
        return isVRAM ? .vram : nil
    }

    /// The host memory behind an address; nil for a frame without an owner.
    public func resolve(_ address: PhysicalAddress, limit: UInt64) -> HostRange? {
        if vram.contains(address) { return vram.resolve(address, limit: limit) }
        if system.contains(address) { return system.resolve(address, limit: limit) }
        if let hiddenVRAM, hiddenVRAM.contains(address) {
            return hiddenVRAM.resolve(address, limit: limit)
        }
        return tables.resolve(address, limit: limit)
    }
}
