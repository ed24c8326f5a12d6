import CPlatform
import CWireProtocol
import Fencing
import Glibc
import SystemPackage
import WireProtocol

/// Which memory a buffer object lies in.
public enum Placement: UInt32, Sendable {
    case system = 0
    case vram = 1
}

// @unchecked: the mapping's address is guarded by `mapping`; its contents are shared memory, whose
// users order their accesses by fences.
/// A buffer object: memory that GPU VMs map and that the client maps too.
///
/// Dropping it closes the descriptor and the CPU mapping; the daemon keeps the buffer until
/// ``close()`` or the end of the connection, and as long as a GPU VM maps it.
///
/// Threading: any thread.
public final class BufferObject: @unchecked Sendable {
    /// The connection that the handle belongs to.
    public let connection: Connection
    /// The daemon's name for it; never 0.
    public let handle: UInt32
    /// Bytes, a multiple of the page size.
    public let size: UInt64
    /// Where it was placed.
    public let placement: Placement
    /// None if the CPU has no access.
    private let memfd: OwnedFD?
    private let mapping = Guarded<UnsafeMutableRawPointer?>(.leaf, nil)

    init(_ connection: Connection, _ reply: gpuvm_bo_reply, _ memfd: consuming OwnedFD?) {
        self.connection = connection
        handle = reply.handle
        size = reply.size
        placement = Placement(rawValue: reply.placement) ?? .system
        self.memfd = memfd
    }

    deinit {
        unmap()
    }

    /// The descriptor of the memory; it stays the object's. -1 without CPU access.
    public var fd: Int32 {
        switch memfd {
        case .some(let memfd): memfd.rawValue
        case .none: -1
        }
    }

    /// The buffer in the client's memory, all of it; valid until ``close()`` or the last reference.
    ///
    /// It is the same memory wherever the buffer is: moves between VRAM and system memory keep it.
    ///
    /// - Throws: ENOMEM when the address space has no room; EPERM without CPU access.
    public func map() throws(ClientError) -> UnsafeMutableRawBufferPointer {
        guard fd >= 0 else {
            throw ClientError(
                .notPermitted, nil, "the buffer was created without CPU access: it has no mapping")
        }
        return try mapping.withLock { address throws(ClientError) in
            if address == nil {
                var error: Int32 = 0
                address = gpuvm_map_shared(fd, 0, Int(size), 1, &error)
                guard address != nil else {
                    throw ClientError(
                        Errno(rawValue: -error), nil, "\(size) bytes of a buffer cannot be mapped")
                }
            }
            return UnsafeMutableRawBufferPointer(start: address, count: Int(size))
        }
    }

    /// Gives the handle back; GPU VMs that map the buffer keep it.
    ///
    /// - Throws: ENOENT when it was closed before.
    public func close() throws(ClientError) {
        unmap()
        try connection.release(.boClose, handle)
    }

    /// What the daemon knows about it.
    public func info() throws(ClientError) -> gpuvm_bo_info_reply {
        try connection.call(
            Request(.boInfo, gpuvm_handle(handle: handle, reserved: 0)),
            reply: gpuvm_bo_info_reply.self)
    }

    /// A descriptor to pass to another process, which imports it; close-on-exec.
    ///
    /// - Throws: EPERM for a buffer that is local to a VM or without CPU access.
    public func export() throws(ClientError) -> OwnedFD {
        try connection.callForFD(
            Request(.boExport, gpuvm_handle(handle: handle, reserved: 0)))
    }

    private func unmap() {
        mapping.withLock { address in
            if let address { gpuvm_unmap(address, Int(size)) }
            address = nil
        }
    }
}

extension Connection {
    /// Creates a buffer object of zeros.
    ///
    /// - Parameters:
    ///   - size: Bytes, rounded up to whole pages.
    ///   - placement: Where engines use it; it may be evicted from VRAM in between.
    ///   - localTo: The only VM that may map it, whose reservation it shares.
    ///   - cpuAccess: Whether it can be mapped by the CPU and exported; false lets it lie in VRAM
    ///     that the CPU does not see, and needs a daemon of protocol 1.1.
    /// - Throws: EINVAL (size 0), ENOSPC or ENOMEM, EDQUOT.
    public func makeBuffer(
        size: UInt64, placement: Placement = .system, localTo vm: VM? = nil,
        cpuAccess: Bool = true, name: String = ""
    ) throws(ClientError) -> BufferObject {
        var contents = gpuvm_bo_create()
        contents.size = size
        contents.placement = placement.rawValue
        contents.flags =
            (vm == nil ? 0 : GPUVM_BO_LOCAL) | (cpuAccess ? 0 : GPUVM_BO_NO_CPU_ACCESS)
        contents.vm = vm?.handle ?? 0
        contents.name = WireName.encode(name)
        var reply = try calls.perform(Request(.boCreate, contents))
        let created = try reply.contents(gpuvm_bo_reply.self)
        let memfd = reply.fds.take(0)
        guard (memfd != nil) == cpuAccess else {
            throw ClientError(
                .protocolError, .boCreate,
                "the daemon's reply has \(cpuAccess ? "no" : "a") descriptor")
        }
        return BufferObject(self, created, memfd)
    }

    /// Makes a buffer object of a descriptor: one that the daemon exported (the same buffer), or a
    /// memfd of at least `size` bytes that accepts F_SEAL_SHRINK.
    ///
    /// - Throws: EINVAL for a descriptor that is no such memfd; as ``makeBuffer``.
    public func importBuffer(
        _ fd: consuming OwnedFD, size: UInt64, name: String = ""
    ) throws(ClientError) -> BufferObject {
        var contents = gpuvm_bo_import()
        contents.size = size
        contents.name = WireName.encode(name)
        var request = Request(.boImport, contents)
        request.attach(borrowing: fd.rawValue)
        let imported = try call(request, reply: gpuvm_bo_reply.self)
        return BufferObject(self, imported, fd)
    }
}
