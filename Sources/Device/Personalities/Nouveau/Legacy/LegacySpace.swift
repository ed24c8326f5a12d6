import Fencing
import Glibc
import Memory
import PageTables

/// The address space of a file that uses the old interface: every GEM object that it has a handle of
/// is mapped, at an address that the driver chose.
///
/// Source: nouveau_gem_object_open and nouveau_gem_object_close
/// (drivers/gpu/drm/nouveau/nouveau_gem.c), nouveau_vma_new (nouveau_vmm.c).
///
/// Threading: any thread.
final class LegacySpace: Sendable {
    /// The client's handle of ``vm``.
    let handle: UInt32
    let vm: DeviceVM

    private struct Placed {
        var addresses: Range<UInt64>
        /// Signals when it can be used.
        var mapped: Fence
    }

    private struct State {
        var holes: AddressHoles
        /// By the buffers' device-wide ids: a file has one handle of each.
        var placed: [UInt64: Placed] = [:]
    }

    private let state: Guarded<State>

    /// Gives addresses out below `end`; the lowest 2 MiB stay a hole, so that 0 is nothing's.
    init(handle: UInt32, vm: DeviceVM, end: UInt64) {
        self.handle = handle
        self.vm = vm
        state = Guarded(.legacySpace, State(holes: AddressHoles(2 << 20..<end)))
    }

    /// Where a buffer is, mapped at the first call.
    ///
    /// - Returns: Its address, and what signals when the page tables have it.
    /// - Throws: ENOENT if the handle has been closed, ENOSPC for a full space, and as a bind.
    func address(
        of buffer: BufferObject, handle: UInt32, pteKind: UInt8, for client: Client
    ) throws(DeviceError) -> (address: UInt64, mapped: Fence) {
        // The lock is held over the bind: a second thread must find both or nothing. And whoever
        // closes the handle comes to `remove` after that, or before the question here.
        try state.withLock { state throws(DeviceError) in
            guard client.handle(ofBufferWithID: buffer.id) != nil else {
                throw .noSuch(.buffer, handle: handle)
            }
            if let placed = state.placed[buffer.id] {
                return (placed.addresses.lowerBound, placed.mapped)
            }
            let alignment: UInt64 =
                buffer.size >= 2 << 20 ? 2 << 20 : buffer.size >= 64 << 10 ? 64 << 10 : frameSize
            guard let addresses = state.holes.take(buffer.size, alignment: alignment) else {
                throw .invalid("the address space has no hole of \(buffer.size) bytes")
            }
            var operation = BindOperation(
                .map, address: addresses.lowerBound, range: buffer.size, buffer: buffer)
            operation.pteKind = pteKind
            do throws(DeviceError) {
                let bind = try client.accept(
                    BindArray([operation]), in: vm, inFences: [], outPoints: [])
                bind.start()
                state.placed[buffer.id] = Placed(addresses: addresses, mapped: bind.fence)
                return (addresses.lowerBound, bind.fence)
            } catch {
                state.holes.give(addresses)
                throw error
            }
        }
    }

    /// Unmaps a buffer whose handle has been closed, behind the jobs that use it.
    func remove(_ buffer: BufferObject, for client: Client) {
        state.withLock { state in
            // Imported again meanwhile, it stays where it is.
            guard client.handle(ofBufferWithID: buffer.id) == nil,
                let placed = state.placed.removeValue(forKey: buffer.id)
            else { return }
            let range = placed.addresses
            let operation = BindOperation(
                .unmap, address: range.lowerBound, range: range.upperBound - range.lowerBound)
            // Refused only by a VM that will execute nothing any more.
            try? client.accept(
                BindArray([operation]), in: vm,
                inFences: buffer.reservation.fences(.bookkeep),
                outPoints: []
            ).start()
            state.holes.give(range)
        }
    }
}

extension LockClass {
    /// A legacy space's addresses; held over binds, so it is taken before everything of a client's.
    static let legacySpace = LockClass("legacy-space", rank: 14, signallingSafe: false)
}
