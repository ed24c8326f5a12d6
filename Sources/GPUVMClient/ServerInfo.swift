import CWireProtocol
import WireProtocol

/// What a daemon says about itself and its device when a client greets it.
public struct ServerInfo: Equatable, Sendable {
    /// The protocol's version.
    public let major, minor: UInt16
    /// The daemon's number for this client.
    public let clientID: UInt32
    /// GPUVM_CAP_* bits.
    public let capabilities: UInt64
    /// The sizes of the two kinds of memory, bytes.
    public let vramBytes, systemBytes: UInt64
    /// How many bits a GPU VA has.
    public let vaBits: UInt32
    /// The granularity of mappings, bytes.
    public let pageBytes: UInt32
    /// The most operations of one bind and the most waits or signals of one request.
    public let maxBindOps, maxSyncs: UInt32
    /// How many copy engines the device has.
    public let copyEngines: UInt32
    /// The daemon's name and version.
    public let name: String

    init(_ reply: gpuvm_hello_reply) {
        major = reply.major
        minor = reply.minor
        clientID = reply.client_id
        capabilities = reply.capabilities
        vramBytes = reply.vram_bytes
        systemBytes = reply.system_bytes
        vaBits = reply.va_bits
        pageBytes = reply.page_bytes
        maxBindOps = reply.max_bind_ops
        maxSyncs = reply.max_syncs
        copyEngines = reply.copy_engines
        name = WireName.display(reply.server)
    }
}
