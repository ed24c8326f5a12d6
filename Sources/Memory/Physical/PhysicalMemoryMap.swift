import CPlatform
import Fencing
import PageTables

/// The device's physical address space: system memory, VRAM, and the part of VRAM that holds page
/// tables and is mapped by no client.
///
/// Threading: immutable after creation; see ``MemoryRegion``.
public final class PhysicalMemoryMap: PhysicalMemory {
    /// Where system memory begins: 4 GiB, so that a null pointer is no frame.
    public static let systemBase: PhysicalAddress = 1 << 32
    /// Where VRAM begins, above all system memory.
    public static let vramBase: PhysicalAddress = 1 << 44

    /// Frames for buffers in system memory.
    public let system: MemoryRegion
    /// Frames for buffers in VRAM.
    public let vram: MemoryRegion
    /// Private VRAM: the pages of page tables.
    public let tables: PrivateMemory

    /// Creates the map.
    ///
    /// - Parameters:
    ///   - systemBytes, vramBytes: Sizes of the regions for buffers.
    ///   - tableBytes: Size of the page-table memory, which lies behind `vramBytes` of VRAM.
    /// - Throws: ``MemoryError`` if the host refuses address space.
    public init(
        systemBytes: UInt64, vramBytes: UInt64, tableBytes: UInt64
    ) throws(MemoryError) {
        system = try MemoryRegion(
            placement: .system, base: Self.systemBase, bytes: systemBytes)
        vram = try MemoryRegion(placement: .vram, base: Self.vramBase, bytes: vramBytes)
        let gigabyte: UInt64 = 1 << 30
        tables = try PrivateMemory(
            base: Self.vramBase + (vramBytes + gigabyte - 1) / gigabyte * gigabyte,
            bytes: tableBytes)
    }

    /// The region that `placement` names.
    public func region(_ placement: Placement) -> MemoryRegion {
        placement == .vram ? vram : system
    }

    /// What kind of memory an address is in; nil for an address that is no frame.
    public func placement(of address: PhysicalAddress) -> Placement? {
        if system.contains(address) { return .system }
        return vram.contains(address) || tables.contains(address) ? .vram : nil
    }

    /// The host memory behind an address; nil for a frame without an owner.
    public func resolve(_ address: PhysicalAddress, limit: UInt64) -> HostRange? {
        if vram.contains(address) { return vram.resolve(address, limit: limit) }
        if system.contains(address) { return system.resolve(address, limit: limit) }
        return tables.resolve(address, limit: limit)
    }
}
