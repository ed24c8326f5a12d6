import Fencing
import Glibc
import Memory
import PageTables

// GEM and PRIME. Source: drivers/gpu/drm/nouveau/nouveau_gem.c, drivers/gpu/drm/drm_prime.c.
extension NouveauFile {
    static var vram: UInt32 { 1 << 1 }
    static var gart: UInt32 { 1 << 2 }
    private static let mappable: UInt32 = 1 << 3
    private static let noShare: UInt32 = 1 << 5
    private static let nonContiguous: UInt32 = 0x8
    private static let tileLayoutMask: UInt32 = 0xff00

    /// The buffer behind a GEM handle.
    func gem(_ handle: UInt32) throws(IoctlError) -> BufferObject {
        try answering { () throws(DeviceError) in try client.buffer(handle) }
    }

    /// The file has chosen the old interface, unless it has a VM already.
    func disableVM() {
        state.withLock { state in
            if case .absent = state.vm { state.vm = .disabled(nil) }
        }
    }

    /// GEM_NEW: {handle@0, domain@4, size u64@8, offset@16, map_handle@24, tile_mode@32,
    /// tile_flags@36, channel_hint@40, align@44}.
    func gemNew(_ frame: inout IoctlFrame) throws(IoctlError) {
        disableVM()
        let domain: UInt32 = frame.read(4)
        let tileFlags: UInt32 = frame.read(36)
        let kind = UInt8(truncatingIfNeeded: tileFlags >> 8)
        guard shared.model.isValid(kind: kind) else {
            throw .invalid("PTE kind \(kind) is none of the chip's")
        }
        let size: UInt64 = frame.read(8)
        guard size != 0 else { throw .invalid("a buffer of no bytes") }
        var localTo: UInt32?
        if domain & Self.noShare != 0 {
            guard case .ready(let handle, _) = state.withLock({ $0.vm }) else {
                throw .invalid("a buffer that is never shared needs VM_INIT")
            }
            localTo = handle
        }
        try meetShortage(at: .bufferCreate)
        let made = try allocate(
            size: size, domain: domain, localTo: localTo,
            needsCPUAccess: domain & Self.mappable != 0)
        let layout = GEMLayout(
            domains: domain & (Self.vram | Self.gart), tileMode: frame.read(32),
            tileFlags: UInt32(kind) << 8 | tileFlags & Self.nonContiguous,
            isPrivate: localTo != nil)
        shared.gems.withLock { $0.insert(layout, for: made.buffer) }
        do throws(IoctlError) {
            try describe(made.buffer, handle: made.handle, in: &frame)
        } catch {
            try? client.closeBuffer(made.handle)
            throw error
        }
    }

    /// A buffer in the best of its domains that has room.
    private func allocate(
        size: UInt64, domain: UInt32, localTo: UInt32?, needsCPUAccess: Bool
    ) throws(IoctlError) -> (handle: UInt32, buffer: BufferObject) {
        func create(_ placement: Placement) throws(DeviceError) -> (UInt32, BufferObject) {
            try client.allocateBuffer(
                name: "gem", size: size, placement: placement, localTo: localTo,
                needsCPUAccess: placement == .system || needsCPUAccess)
        }
        do throws(DeviceError) {
            guard domain & Self.vram != 0 else { return try create(.system) }
            do throws(DeviceError) {
                return try create(.vram)
            } catch {
                guard domain & Self.gart != 0, case .memory = error else { throw error }
                return try create(.system)
            }
        } catch {
            switch error {
            // TTM knows one errno for what does not fit, be it too large or the memory full.
            case .memory, .quota, .invalid: throw IoctlError(ENOMEM, error.description)
            default: throw IoctlError(error)
            }
        }
    }

    /// Fills in struct drm_nouveau_gem_info. Only buffers of the old interface have an address of
    /// their own; who uses it waits until it is mapped.
    private func describe(
        _ buffer: BufferObject, handle: UInt32, in frame: inout IoctlFrame
    ) throws(IoctlError) {
        let place = try legacyAddress(of: buffer, handle: handle)
        let layout = shared.gems.withLock { $0[buffer] }
        let domains = layout?.domains ?? Self.gart
        let current = buffer.placement == .vram ? Self.vram : Self.gart
        let offset = state.withLock { $0.offsets.offset(of: handle, bytes: buffer.size) }
        frame.write(handle, at: 0)
        frame.write(domains.nonzeroBitCount == 1 ? domains : current, at: 4)
        frame.write(buffer.size, at: 8)
        frame.write(place?.address ?? 0, at: 16)
        frame.write(offset, at: 24)
        frame.write(layout?.tileMode ?? 0, at: 32)
        frame.write(layout?.tileFlags ?? Self.nonContiguous, at: 36)
    }

    /// GEM_INFO: the same struct without its last two fields.
    func gemInfo(_ frame: inout IoctlFrame) throws(IoctlError) {
        let handle: UInt32 = frame.read(0)
        try describe(try gem(handle), handle: handle, in: &frame)
    }

    /// GEM_CLOSE: {handle@0}.
    func gemClose(_ frame: IoctlFrame) throws(IoctlError) {
        let handle: UInt32 = frame.read(0)
        guard closeGEM(handle) else { throw .invalid("there is no GEM handle \(handle)") }
    }

    /// Closes a handle, if it is one.
    func closeGEM(_ handle: UInt32) -> Bool {
        guard let buffer = try? client.buffer(handle), (try? client.closeBuffer(handle)) != nil
        else { return false }
        let space = state.withLock { state in
            state.offsets.remove(handle)
            guard case .disabled(let space) = state.vm else { return LegacySpace?.none }
            return space
        }
        space?.remove(buffer, for: client)
        return true
    }

    /// GEM_CPU_PREP: {handle@0, flags@4: 1 no wait, 4 write}; waits for implicit fences.
    func gemCPUPrep(_ frame: IoctlFrame) throws(IoctlError) -> IoctlStep {
        let flags: UInt32 = frame.read(4)
        let buffer = try gem(frame.read(0))
        let fences = buffer.reservation.fences(flags & 4 != 0 ? .read : .write)
        guard !fences.isEmpty else { return .done }
        let targets = fences.map { fence in
            let syncobj = Syncobj()
            syncobj.replaceFence(fence)
            return SyncobjWait.Target(syncobj)
        }
        let patience = flags & 1 != 0 ? 0 : Runtime.deadline(after: 30_000_000_000)
        return .wait(
            IoctlWait(
                targets: targets, flags: .all, deadline: Int64(clamping: patience),
                timeoutErrno: EBUSY
            ) { (_, _) throws(IoctlError) in })
    }

    // MARK: PRIME

    /// PRIME_HANDLE_TO_FD: {handle@0, flags@4, fd s32@8}.
    func primeHandleToFD(_ frame: inout IoctlFrame) throws(IoctlError) {
        let flags: UInt32 = frame.read(4)
        guard flags & ~UInt32(O_CLOEXEC | O_RDWR) == 0 else {
            throw .invalid("PRIME flags are O_CLOEXEC and O_RDWR")
        }
        let handle: UInt32 = frame.read(0)
        let buffer = try answering { () throws(DeviceError) in try client.exportBuffer(handle) }
        frame.descriptor = IoctlDescriptor(buffer.backing.descriptor, of: buffer)
        frame.write(Int32(-1), at: 8)
    }

    /// PRIME_FD_TO_HANDLE: {handle@0, flags@4, fd s32@8}.
    func primeFDToHandle(_ frame: inout IoctlFrame) throws(IoctlError) {
        guard let descriptor = frame.call.descriptors.first else {
            throw IoctlError(EBADF, "the call carries no descriptor")
        }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else {
            throw IoctlError(EBADF, "the descriptor is not open")
        }
        guard status.st_size > 0 else {
            throw .invalid("the descriptor is no buffer's")
        }
        let copy = fcntl(descriptor, F_DUPFD_CLOEXEC, 3)
        guard copy >= 0 else { throw IoctlError(errno, "fcntl") }
        let imported = try answering { () throws(DeviceError) in
            try client.importBuffer(
                name: "dma-buf", descriptor: copy, size: UInt64(status.st_size))
        }
        frame.write(imported.handle, at: 0)
    }

    // MARK: mmap

    /// What mmap(2) of the file maps.
    ///
    /// - Parameters:
    ///   - offset: A buffer's map handle, plus an offset of pages in it.
    ///   - length: Bytes, not 0; rounded up to pages.
    /// - Returns: The buffer's memory, and the offset in it.
    /// - Throws: EINVAL if no buffer is there, or it ends before; ENOMEM if that is injected.
    public func map(
        offset: UInt64, length: UInt64
    ) throws(IoctlError) -> (descriptor: IoctlDescriptor, offset: UInt64) {
        let (bytes, overflow) = length.addingReportingOverflow(frameSize - 1)
        guard length != 0, !overflow, offset % frameSize == 0,
            let found = state.withLock({
                $0.offsets.find(offset, length: bytes / frameSize * frameSize)
            })
        else { throw .invalid("no buffer has 0x\(hex(length)) bytes at 0x\(hex(offset))") }
        let buffer = try gem(found.handle)
        try meetShortage(at: .map)
        return (IoctlDescriptor(buffer.backing.descriptor, of: buffer), found.offset)
    }
}
