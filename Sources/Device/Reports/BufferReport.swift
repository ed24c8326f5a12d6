import GPUVMCore
import Memory
import PageTables

/// A buffer at one moment, as `bo list` shows it.
public struct BufferReport: Sendable {
    /// Device-wide id.
    public var id: UInt64
    /// The client that made it.
    public var client: UInt32
    /// What that client is called; empty once it has gone.
    public var clientName: String
    /// What it is called.
    public var name: String
    /// Bytes.
    public var size: UInt64
    /// Where engines may use it.
    public var wanted: Placement
    /// Where it is.
    public var placement: Placement
    /// Whether it had to leave the wanted placement.
    public var isEvicted: Bool
    /// Whether its VRAM must be within the CPU's reach.
    public var needsCPUAccess: Bool
    /// Whether only one VM may map it.
    public var isLocal: Bool
    /// VMs that map it.
    public var vms: Int
    /// Where its first frame is.
    public var physicalAddress: PhysicalAddress
    /// Runs of frames.
    public var extents: Int
}

extension Device {
    /// All buffers, by id, whether or not a handle leads to them. O(buffers).
    public func bufferReports() -> [BufferReport] {
        let names = Dictionary(
            clients.map { ($0.id, $0.name) }, uniquingKeysWith: { first, _ in first })
        return buffers.map { buffer in
            let frames = buffer.frames
            return BufferReport(
                id: buffer.id, client: buffer.creator, clientName: names[buffer.creator] ?? "",
                name: buffer.name, size: buffer.size, wanted: buffer.wantedPlacement,
                placement: frames?.placement ?? buffer.wantedPlacement,
                isEvicted: frames?.placement != buffer.wantedPlacement,
                needsCPUAccess: buffer.needsCPUAccess, isLocal: buffer.isLocal,
                vms: buffer.vms.count, physicalAddress: frames?.extents.first?.address ?? 0,
                extents: frames?.extents.count ?? 0)
        }
    }
}
