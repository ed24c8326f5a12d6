import Engines
import Fencing
import Glibc
import Memory

// GEM_PUSHBUF, the old interface's EXEC. Source: nouveau_gem_ioctl_pushbuf and what it calls
// (drivers/gpu/drm/nouveau/nouveau_gem.c).
extension NouveauFile {
    private static let maximumLegacyPushes: UInt32 = 512
    private static let maximumBuffers: UInt32 = 1024
    private static let maximumRelocations: UInt32 = 1024
    private static let bufferBytes = 40
    private static let legacyPushBytes = 24
    /// NOUVEAU_GEM_PUSHBUF_NO_PREFETCH, in a push's length.
    private static let noPrefetch: UInt32 = 1 << 23

    /// The address space of the old interface, made when it is first used; nil in a file that has a
    /// VM or has not chosen yet.
    func legacySpace() throws(IoctlError) -> LegacySpace? {
        guard case .disabled(let known) = state.withLock({ $0.vm }) else { return nil }
        if let known { return known }
        let made = try makeVM(reserved: 0, bytes: 0)
        let space = LegacySpace(handle: made.handle, vm: made.vm, end: Self.spaceEnd)
        let kept = state.withLock { state -> LegacySpace in
            if case .disabled(let other?) = state.vm { return other }
            state.vm = .disabled(space)
            return space
        }
        if kept !== space { try? client.closeVM(made.handle) }
        return kept
    }

    /// Where the old interface has a buffer, and what signals when it is there; nil if the file does
    /// not use that.
    func legacyAddress(
        of buffer: BufferObject, handle: UInt32
    ) throws(IoctlError) -> (address: UInt64, mapped: Fence)? {
        guard let space = try legacySpace() else { return nil }
        let flags = shared.gems.withLock { $0[buffer]?.tileFlags } ?? 0
        return try answering { () throws(DeviceError) in
            try space.address(
                of: buffer, handle: handle, pteKind: UInt8(truncatingIfNeeded: flags >> 8),
                for: client)
        }
    }

    /// GEM_PUSHBUF: {channel@0, nr_buffers@4, buffers u64@8, nr_relocs@16, nr_push@20, relocs u64@24,
    /// push u64@32, suffix0@40, suffix1@44, vram_available u64@48, gart_available u64@56}. Bit 0 of
    /// vram_available asks to wait for the end.
    ///
    /// Relocations are for chips without an MMU and never read.
    func gemPushbuf(_ frame: inout IoctlFrame) throws(IoctlError) -> IoctlStep {
        if case .ready = state.withLock({ $0.vm }) {
            throw IoctlError(ENOSYS, "the file has a VM: its push buffers go through EXEC")
        }
        let execution = try executingChannel(frame.read(0))
        let isSynchronous = frame.read(48, as: UInt64.self) & 1 != 0
        frame.write(shared.device.memory.vramBytes, at: 48)
        frame.write(shared.device.memory.system.bytes, at: 56)
        let count: UInt32 = frame.read(20)
        if count != 0 {
            guard count <= Self.maximumLegacyPushes,
                frame.read(4, as: UInt32.self) <= Self.maximumBuffers,
                frame.read(16, as: UInt32.self) <= Self.maximumRelocations
            else { throw .invalid("a push buffer of more than the driver's limits") }
        }
        guard count != 0 else {
            clearSuffixes(&frame)
            return .done
        }
        // Both arrays are copied in before any is looked at.
        let array = try frame.call.array(at: 32, count: count, stride: Self.legacyPushBytes)
        let buffers: UInt32 = frame.read(4)
        let list = try frame.call.array(at: 8, count: buffers, stride: Self.bufferBytes)
        clearSuffixes(&frame)
        for index in 0..<Int(count) {
            let number: UInt32 = array.read(index * Self.legacyPushBytes)
            guard number < buffers else {
                throw .invalid("push \(index) is in buffer \(number), which is not listed")
            }
        }
        let listed = try listedBuffers(list, count: Int(buffers))
        var pushes: [NVIDIAPush] = []
        pushes.reserveCapacity(Int(count))
        for index in 0..<Int(count) {
            let base = index * Self.legacyPushBytes
            let number: UInt32 = array.read(base)
            let length = UInt32(truncatingIfNeeded: array.read(base + 16, as: UInt64.self))
            pushes.append(
                NVIDIAPush(
                    address: listed.addresses[Int(number)] &+ array.read(base + 8),
                    bytes: UInt64(length & ~Self.noPrefetch)))
        }
        let fence = try submit(
            pushes, to: execution, inFences: listed.fences, outPoints: [])
        return isSynchronous ? .fence(fence) : .done
    }

    /// What the old chips' push buffers ended with; a call that ends before its arrays are there leaves
    /// the fields alone.
    private func clearSuffixes(_ frame: inout IoctlFrame) { frame.write(UInt64(0), at: 40) }

    /// The addresses of the buffers of {user_priv u64@0, handle@8, read_domains@12, write_domains@16,
    /// valid_domains@20, presumed@24…39}, and the fences that a job which uses them waits for.
    ///
    /// The job's own fence goes to every buffer that the file has, as with EXEC.
    ///
    /// - Throws: ENOENT for a handle; EINVAL for a buffer that is listed twice or in no domain that
    ///   it may be in.
    private func listedBuffers(
        _ array: IoctlBytes, count: Int
    ) throws(IoctlError) -> (addresses: [UInt64], fences: [Fence]) {
        var buffers: [(handle: UInt32, buffer: BufferObject)] = []
        var known: Set<UInt32> = []
        for index in 0..<count {
            let base = index * Self.bufferBytes
            let handle: UInt32 = array.read(base + 8)
            buffers.append((handle, try gem(handle)))
            guard known.insert(handle).inserted else {
                throw .invalid("buffer \(handle) is listed twice")
            }
            guard array.read(base + 20, as: UInt32.self) & Self.placeable != 0 else {
                throw .invalid("buffer \(handle) may be nowhere")
            }
        }
        var addresses: [UInt64] = []
        var fences: [Fence] = []
        for (index, entry) in buffers.enumerated() {
            let base = index * Self.bufferBytes
            let written: UInt32 = array.read(base + 16)
            let wanted = written != 0 ? written : array.read(base + 12)
            let allowed =
                shared.gems.withLock { $0[entry.buffer]?.domains } ?? Self.gart
            guard wanted & allowed & array.read(base + 20) != 0 else {
                throw .invalid("buffer \(entry.handle) is used in a domain that it is not for")
            }
            guard let place = try legacyAddress(of: entry.buffer, handle: entry.handle) else {
                throw .invalid("buffer \(entry.handle) has no address")
            }
            addresses.append(place.address)
            if !place.mapped.isSignalled { fences.append(place.mapped) }
            fences += entry.buffer.reservation.fences(written != 0 ? .read : .write)
        }
        #if MUTANTS
            if Mutant.isPlanted("pushbufIgnoresFences") { fences = [] }
        #endif
        return (addresses, fences)
    }

    /// NOUVEAU_GEM_DOMAIN_VRAM and GART.
    private static var placeable: UInt32 { vram | gart }
}
